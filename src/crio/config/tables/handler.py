"""[crio.runtime.runtimes.NAME] and [crio.runtime.workloads.NAME]: tables which a node may have many of."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from crio.config.key import Key, Unit

MIN_MEMORY = 12 * 1024 * 1024
CREATE_TIMEOUT = 240
MIN_CREATE_TIMEOUT = 30


class RuntimeHandler(Struct, frozen=True):
    """[crio.runtime.runtimes.NAME]: one OCI runtime and how it is used."""

    runtime_path: Annotated[
        str, Key("Path of the runtime's program. Empty: the handler's name is looked for in PATH.")
    ] = ""
    runtime_type: Annotated[
        str,
        Key(
            "oci: a command-line runtime such as crun; vm: a shim v2 program such as Kata's; pod: as oci, with "
            "one monitor for a pod. Only oci can be used in this release.",
            choices=("oci", "vm", "pod", ""),
        ),
    ] = "oci"
    runtime_root: Annotated[str, Key("Directory of the runtime's state. Empty: /run/NAME.")] = ""
    runtime_config_path: Annotated[str, Key("Configuration file of the runtime; for runtime_type vm only.")] = ""
    inherit_default_runtime: Annotated[
        bool, Key("Take path, type, root and configuration from the default runtime's table.")
    ] = False
    privileged_without_host_devices: Annotated[
        bool, Key("Do not give the host's devices to privileged containers.")
    ] = False
    allowed_annotations: Annotated[
        tuple[str, ...],
        Key(
            "Annotations with a special meaning which pods of this handler may use.",
            deprecated="set allowed_annotations in a [crio.runtime.workloads] table",
        ),
    ] = ()
    monitor_path: Annotated[str, Key("Path of a monitor program. This daemon has its own, so that it is not used.")] = (
        ""
    )
    monitor_cgroup: Annotated[
        str,
        Key(
            'Cgroup of containers\' monitors: "pod", or with cgroup_manager systemd a slice. Empty with '
            "cgroupfs: as pod."
        ),
    ] = ""
    monitor_env: Annotated[
        tuple[str, ...], Key("Environment of the monitor and of the runtime that it calls. Empty: PATH only.")
    ] = ()
    monitor_exec_cgroup: Annotated[
        str,
        Key(
            '"container": commands which are run in a container are monitored inside its cgroup.',
            choices=("", "container"),
        ),
    ] = ""
    platform_runtime_paths: Annotated[
        dict[str, str], Key('Other paths of the runtime\'s program for images of other platforms, by "os/arch".')
    ] = {}
    runtime_pull_image: Annotated[
        bool, Key("The image is pulled inside the guest, and not unpacked on the host (confidential containers).")
    ] = False
    container_min_memory: Annotated[
        int, Key("Lowest memory limit of a container that is accepted.", unit=Unit.SIZE)
    ] = MIN_MEMORY
    no_sync_log: Annotated[bool, Key("Do not write logs through to the disk when a container ends.")] = False
    default_annotations: Annotated[
        dict[str, str], Key("Annotations for containers that do not set them themselves.")
    ] = {}
    stream_websockets: Annotated[
        bool, Key("Serve streams over WebSockets from the monitor; for runtime_type pod only.")
    ] = False
    exec_cpu_affinity: Annotated[
        str,
        Key('"first": commands run on the first of the container\'s shared or exclusive CPUs.', choices=("", "first")),
    ] = ""
    seccomp_profile: Annotated[
        str, Key("Seccomp profile that RuntimeDefault means for this handler. Empty: crio.runtime.seccomp_profile.")
    ] = ""
    container_create_timeout: Annotated[
        int, Key("Seconds after which the creation of a container is given up; at least 30.")
    ] = CREATE_TIMEOUT


class Resources(Struct, frozen=True):
    """[crio.runtime.workloads.NAME.resources]: defaults, which a pod's annotation may override for a container."""

    cpushares: Annotated[int, Key("CPU shares.")] = 0
    cpuquota: Annotated[int, Key("CPU quota in microseconds.")] = 0
    cpuperiod: Annotated[int, Key("CPU period in microseconds.")] = 0
    cpuset: Annotated[str, Key("List of CPUs.")] = ""
    cpulimit: Annotated[int, Key("CPU limit in thousandths of a CPU; the quota is computed from it.")] = 0


class Workload(Struct, frozen=True):
    """[crio.runtime.workloads.NAME]: what pods with a certain annotation get."""

    activation_annotation: Annotated[
        str, Key("A pod with this annotation (the value does not matter) is of this kind.")
    ] = ""
    annotation_prefix: Annotated[
        str, Key("PREFIX/CONTAINER of a pod's annotations holds resources of a container, as JSON.")
    ] = ""
    allowed_annotations: Annotated[
        tuple[str, ...], Key("Annotations with a special meaning which pods of this kind may use.")
    ] = ()
    resources: Resources = Resources()
