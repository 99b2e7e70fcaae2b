"""[crio.runtime]: everything about containers that is not their image or network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Struct

from crio.config.key import RESTART, WATCHED, Key
from crio.config.tables.handler import RuntimeHandler, Workload

_KEP127 = "use Kubernetes user namespaces (hostUsers: false)"


class Runtime(Struct, frozen=True):
    """[crio.runtime]"""

    default_runtime: Annotated[
        str, Key("Handler of pods that ask for none. If neither it nor a handler table is set: crun, else runc.")
    ] = "crun"
    default_ulimits: Annotated[
        tuple[str, ...], Key('Resource limits of containers, "name=soft:hard". Empty: those of the daemon.')
    ] = ()
    no_pivot: Annotated[bool, Key("Let the runtime use MS_MOVE in place of pivot_root (root on a ramdisk).")] = False
    decryption_keys_path: Annotated[str, Key("Directory of private keys for encrypted images.", env="")] = (
        "/etc/crio/keys/"
    )
    additional_artifact_stores: Annotated[
        tuple[str, ...],
        Key("Read-only stores of OCI artifacts, which are searched first. Absolute paths.", RESTART, env=""),
    ] = ()
    conmon: Annotated[str, Key("Path of a monitor program.", deprecated="use monitor_path of the runtime handler")] = ""
    conmon_cgroup: Annotated[
        str, Key("Cgroup of containers' monitors.", deprecated="use monitor_cgroup of the runtime handler")
    ] = ""
    conmon_env: Annotated[
        tuple[str, ...],
        Key("Environment of containers' monitors.", deprecated="use monitor_env of the runtime handler"),
    ] = ()
    default_env: Annotated[
        tuple[str, ...],
        Key('Environment variables for all containers, "NAME=value". Image and pod override them.'),
    ] = ()
    min_injected_gomaxprocs: Annotated[
        int,
        Key(
            "Set GOMAXPROCS in containers of burstable and best-effort pods from their CPU request, but not lower"
            " than this. 0: do not set it.",
            env="CONTAINER_INJECT_GOMAXPROCS",
        ),
    ] = 0
    selinux: Annotated[
        bool,
        Key("Label containers for SELinux.", RESTART, deprecated="leave it out: the state of the host decides"),
    ] = False
    seccomp_profile: Annotated[
        str, Key("Seccomp profile (JSON) that RuntimeDefault means. Empty, or a missing file: the built-in one.")
    ] = ""
    privileged_seccomp_profile: Annotated[
        str, Key("Seccomp profile (JSON) for privileged containers. Empty: none.")
    ] = ""
    apparmor_profile: Annotated[
        str, Key("AppArmor profile that RuntimeDefault means. crio-default is loaded if it is missing.")
    ] = "crio-default"
    blockio_config_file: Annotated[str, Key("File with block IO classes.", env="")] = ""
    blockio_reload: Annotated[
        bool, Key("Read blockio_config_file again, and look for devices, each time a class is used.", env="")
    ] = False
    rdt_config_file: Annotated[str, Key("File with cache and memory bandwidth classes (resctrl).", env="")] = ""
    cdi_spec_dirs: Annotated[
        tuple[str, ...], Key("Directories of CDI device descriptions. They are watched.", WATCHED)
    ] = ("/etc/cdi", "/var/run/cdi")
    irqbalance_config_file: Annotated[
        str, Key("Configuration of irqbalance, for pods that keep interrupts off their CPUs.", RESTART, env="")
    ] = "/etc/sysconfig/irqbalance"
    irqbalance_config_restore_file: Annotated[
        str,
        Key(
            'File with the banned CPUs that are restored at the start. "disable": nothing is restored.', RESTART, env=""
        ),
    ] = "/etc/sysconfig/orig_irq_banned_cpus"
    cgroup_manager: Annotated[
        str,
        Key(
            "Who makes the cgroups of pods and containers; kubelet follows it.",
            RESTART,
            choices=("systemd", "cgroupfs"),
        ),
    ] = "systemd"
    default_capabilities: Annotated[
        tuple[str, ...], Key("Capabilities of containers that ask for no other. They can be dropped by the pod.")
    ] = ("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "KILL")
    add_inheritable_capabilities: Annotated[
        bool,
        Key(
            "Put capabilities into the inheritable set as well. A container's program may then pass them on to "
            "programs of its image in unexpected ways (CVE-2022-27652)."
        ),
    ] = False
    default_sysctls: Annotated[
        tuple[str, ...], Key('Sysctls of pods, "name=value"; those of a pod\'s own namespaces only.')
    ] = ()
    allowed_devices: Annotated[
        tuple[str, ...], Key("Devices which pods may ask for with the annotation devices.crio.io.")
    ] = ("/dev/fuse", "/dev/net/tun")
    additional_devices: Annotated[
        tuple[str, ...], Key('Devices for all containers, "host", "host:container" or "host:container:rwm".')
    ] = ()
    hooks_dir: Annotated[
        tuple[str, ...],
        Key("Directories of OCI hooks; later ones take precedence. They are watched.", WATCHED),
    ] = ("/usr/share/containers/oci/hooks.d",)
    default_mounts_file: Annotated[
        str,
        Key(
            "File with mounts for all containers, host:container in each line. Empty: "
            "/etc/containers/mounts.conf, else /usr/share/containers/mounts.conf."
        ),
    ] = ""
    default_mounts: Annotated[
        tuple[str, ...],
        Key("Mounts for all containers. It has no effect.", deprecated="use default_mounts_file", flag="", env=""),
    ] = ()
    pids_limit: Annotated[
        int,
        Key("Largest number of processes in a container. -1: no limit.", deprecated="use podPidsLimit of the kubelet"),
    ] = -1
    log_filter: Annotated[str, Key("Regular expression; log lines of the daemon that do not match are dropped.")] = ""
    log_level: Annotated[
        str,
        Key(
            "Lowest level of the daemon's log lines.",
            choices=("fatal", "panic", "error", "warn", "warning", "info", "debug", "trace"),
        ),
    ] = "info"
    log_size_max: Annotated[
        int,
        Key(
            "Largest size in bytes of a container's log file; at least 8192. -1: no limit.",
            deprecated="use containerLogMaxSize of the kubelet",
        ),
    ] = -1
    log_to_journald: Annotated[
        bool,
        Key(
            "Write containers' output to the journal besides the log file.",
            flag="log-journald",
            env="CONTAINER_LOG_JOURNALD",
        ),
    ] = False
    container_exits_dir: Annotated[
        str, Key("Directory of files that hold exit codes of containers.", RESTART, env="CONTAINER_EXITS_DIR")
    ] = "/var/run/crio/exits"
    container_attach_socket_dir: Annotated[
        str, Key("Directory of sockets for attaching to containers.", RESTART, env="CONTAINER_ATTACH_SOCKET_DIR")
    ] = "/var/run/crio"
    bind_mount_prefix: Annotated[
        str, Key("Prefix of all mount sources of pods, for a daemon in a container that has the host's root at /host.")
    ] = ""
    read_only: Annotated[
        bool, Key("Make the root of all containers read-only, with tmpfs on /run, /tmp and /var/tmp.")
    ] = False
    uid_mappings: Annotated[
        str, Key('User ids of all containers in a user namespace, "container:host:size,...".', deprecated=_KEP127)
    ] = ""
    gid_mappings: Annotated[
        str, Key('Group ids of all containers in a user namespace, "container:host:size,...".', deprecated=_KEP127)
    ] = ""
    minimum_mappable_uid: Annotated[
        int, Key("Lowest user id of the host in a pod's mapping. -1: any.", deprecated=_KEP127)
    ] = -1
    minimum_mappable_gid: Annotated[
        int, Key("Lowest group id of the host in a pod's mapping. -1: any.", deprecated=_KEP127)
    ] = -1
    ctr_stop_timeout: Annotated[
        int,
        Key("Least number of seconds that a container has for its end; at least 30.", env="CONTAINER_STOP_TIMEOUT"),
    ] = 30
    drop_infra_ctr: Annotated[
        bool, Key("Pods have no infra container unless they need one (a shared PID namespace).")
    ] = True
    infra_ctr_cpuset: Annotated[str, Key("CPUs for infra containers, such as 0-3,7. Empty: all.")] = ""
    shared_cpuset: Annotated[str, Key("CPUs that guaranteed containers may use beside their own, if they ask.")] = ""
    namespaces_dir: Annotated[str, Key("Directory below which namespaces of pods are kept.", RESTART)] = "/var/run"
    pinns_path: Annotated[
        str,
        Key("Path of a helper that keeps namespaces.", RESTART),
    ] = ""
    absent_mount_sources_to_reject: Annotated[
        tuple[str, ...],
        Key("Mount sources that must exist; others are made as a directory if they are missing."),
    ] = ()
    device_ownership_from_security_context: Annotated[
        bool, Key("Give devices of a container to the user and group that it runs as.", env="")
    ] = False
    enable_criu_support: Annotated[
        bool,
        Key(
            "false: containers cannot be checkpointed.",
            deprecated="use container_level_enabled of [crio.checkpoint_restore]",
        ),
    ] = True
    enable_pod_events: Annotated[
        bool,
        Key(
            "Serve container events to the kubelet (GetContainerEvents).",
            RESTART,
            env="ENABLE_POD_EVENTS",
        ),
    ] = False
    hostnetwork_disable_selinux: Annotated[bool, Key("Do not confine pods with host network by SELinux.")] = True
    disable_hostport_mapping: Annotated[
        bool, Key("Leave host ports to the CNI plug-ins.", RESTART, env="DISABLE_HOSTPORT_MAPPING")
    ] = False
    timezone: Annotated[
        str,
        Key('Time zone of containers, such as Europe/Berlin; "Local": that of the host.', env="CONTAINER_TIME_ZONE"),
    ] = ""
    separate_pull_cgroup: Annotated[
        str,
        Key(
            "Cgroup in which a process of its own pulls images: a slice (with cgroup_manager cgroupfs a path), or "
            '"pod" for that of the pod that needs the image. Empty: the daemon\'s.',
            env="PULL_IN_A_CGROUP",
        ),
    ] = ""
    runtimes: Mapping[str, RuntimeHandler] = {}
    workloads: Mapping[str, Workload] = {}
