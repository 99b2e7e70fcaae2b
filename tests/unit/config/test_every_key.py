"""Every key of crio.conf: it exists, has CRI-O's default, and takes effect from file, drop-in, variable and flag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crio.config import Config, load, parse
from crio.config.catalog import Entry, entries, value_of
from crio.config.convert import STRINGS, to_toml
from crio.config.key import Unit
from crio.config.printer import print_config

# What a node without any configuration has: key, default as TOML.
DEFAULTS = """
crio.root "/var/lib/containers/storage"
crio.runroot "/run/containers/storage"
crio.storage_driver "overlay"
crio.storage_option []
crio.log_dir "/var/log/crio/pods"
crio.version_file "/var/run/crio/version"
crio.version_file_persist ""
crio.imagestore ""
crio.internal_wipe true
crio.internal_repair true
crio.clean_shutdown_file "/var/lib/crio/clean.shutdown"
crio.api.listen "/var/run/crio/crio.sock"
crio.api.stream_address "127.0.0.1"
crio.api.stream_port "0"
crio.api.stream_enable_tls false
crio.api.stream_idle_timeout "4h0m0s"
crio.api.stream_tls_cert ""
crio.api.stream_tls_key ""
crio.api.stream_tls_ca ""
crio.api.tls_min_version "VersionTLS12"
crio.api.tls_cipher_suites []
crio.api.grpc_max_send_msg_size 83886080
crio.api.grpc_max_recv_msg_size 83886080
crio.runtime.default_runtime "crun"
crio.runtime.default_ulimits []
crio.runtime.no_pivot false
crio.runtime.decryption_keys_path "/etc/crio/keys/"
crio.runtime.additional_artifact_stores []
crio.runtime.conmon ""
crio.runtime.conmon_cgroup ""
crio.runtime.conmon_env []
crio.runtime.default_env []
crio.runtime.min_injected_gomaxprocs 0
crio.runtime.selinux false
crio.runtime.seccomp_profile ""
crio.runtime.privileged_seccomp_profile ""
crio.runtime.apparmor_profile "crio-default"
crio.runtime.blockio_config_file ""
crio.runtime.blockio_reload false
crio.runtime.rdt_config_file ""
crio.runtime.cdi_spec_dirs ["/etc/cdi", "/var/run/cdi"]
crio.runtime.irqbalance_config_file "/etc/sysconfig/irqbalance"
crio.runtime.irqbalance_config_restore_file "/etc/sysconfig/orig_irq_banned_cpus"
crio.runtime.cgroup_manager "systemd"
crio.runtime.default_capabilities ["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETPCAP", \
"NET_BIND_SERVICE", "KILL"]
crio.runtime.add_inheritable_capabilities false
crio.runtime.default_sysctls []
crio.runtime.allowed_devices ["/dev/fuse", "/dev/net/tun"]
crio.runtime.additional_devices []
crio.runtime.hooks_dir ["/usr/share/containers/oci/hooks.d"]
crio.runtime.default_mounts_file ""
crio.runtime.default_mounts []
crio.runtime.pids_limit -1
crio.runtime.log_filter ""
crio.runtime.log_level "info"
crio.runtime.log_size_max -1
crio.runtime.log_to_journald false
crio.runtime.container_exits_dir "/var/run/crio/exits"
crio.runtime.container_attach_socket_dir "/var/run/crio"
crio.runtime.bind_mount_prefix ""
crio.runtime.read_only false
crio.runtime.uid_mappings ""
crio.runtime.gid_mappings ""
crio.runtime.minimum_mappable_uid -1
crio.runtime.minimum_mappable_gid -1
crio.runtime.ctr_stop_timeout 30
crio.runtime.drop_infra_ctr true
crio.runtime.infra_ctr_cpuset ""
crio.runtime.shared_cpuset ""
crio.runtime.namespaces_dir "/var/run"
crio.runtime.pinns_path ""
crio.runtime.absent_mount_sources_to_reject []
crio.runtime.device_ownership_from_security_context false
crio.runtime.enable_criu_support true
crio.runtime.enable_pod_events false
crio.runtime.hostnetwork_disable_selinux true
crio.runtime.disable_hostport_mapping false
crio.runtime.timezone ""
crio.runtime.separate_pull_cgroup ""
crio.runtime.runtimes.*.runtime_path ""
crio.runtime.runtimes.*.runtime_type "oci"
crio.runtime.runtimes.*.runtime_root ""
crio.runtime.runtimes.*.runtime_config_path ""
crio.runtime.runtimes.*.inherit_default_runtime false
crio.runtime.runtimes.*.privileged_without_host_devices false
crio.runtime.runtimes.*.allowed_annotations []
crio.runtime.runtimes.*.monitor_path ""
crio.runtime.runtimes.*.monitor_cgroup ""
crio.runtime.runtimes.*.monitor_env []
crio.runtime.runtimes.*.monitor_exec_cgroup ""
crio.runtime.runtimes.*.platform_runtime_paths {}
crio.runtime.runtimes.*.runtime_pull_image false
crio.runtime.runtimes.*.container_min_memory "12MiB"
crio.runtime.runtimes.*.no_sync_log false
crio.runtime.runtimes.*.default_annotations {}
crio.runtime.runtimes.*.stream_websockets false
crio.runtime.runtimes.*.exec_cpu_affinity ""
crio.runtime.runtimes.*.seccomp_profile ""
crio.runtime.runtimes.*.container_create_timeout 240
crio.runtime.workloads.*.activation_annotation ""
crio.runtime.workloads.*.annotation_prefix ""
crio.runtime.workloads.*.allowed_annotations []
crio.runtime.workloads.*.resources.cpushares 0
crio.runtime.workloads.*.resources.cpuquota 0
crio.runtime.workloads.*.resources.cpuperiod 0
crio.runtime.workloads.*.resources.cpuset ""
crio.runtime.workloads.*.resources.cpulimit 0
crio.checkpoint_restore.container_level_enabled "checkpoint_restore"
crio.image.default_transport "docker://"
crio.image.global_auth_file ""
crio.image.namespaced_auth_dir "/etc/crio/auth"
crio.image.pause_image "registry.k8s.io/pause:3.10.1"
crio.image.pause_image_auth_file ""
crio.image.pause_command "/pause"
crio.image.pinned_images []
crio.image.signature_policy ""
crio.image.signature_policy_dir "/etc/crio/policies"
crio.image.image_volumes "mkdir"
crio.image.insecure_registries []
crio.image.big_files_temporary_dir ""
crio.image.auto_reload_registries false
crio.image.pull_progress_timeout "0s"
crio.image.oci_artifact_mount_support true
crio.image.short_name_mode "enforcing"
crio.network.cni_default_network ""
crio.network.network_dir "/etc/cni/net.d/"
crio.network.plugin_dirs ["/opt/cni/bin"]
crio.network.plugin_dir ""
crio.network.cni_status_grace_period "0s"
crio.metrics.enable_metrics false
crio.metrics.metrics_collectors ["image_pulls_layer_size", "containers_events_dropped_total", "containers_oom_total", \
"processes_defunct", "operations_total", "operations_latency_seconds", "operations_latency_seconds_total", \
"operations_errors_total", "image_pulls_bytes_total", "image_pulls_skipped_bytes_total", "image_pulls_failure_total", \
"image_pulls_success_total", "image_layer_reuse_total", "containers_oom_count_total", \
"containers_seccomp_notifier_count_total", "resources_stalled_at_stage", "containers_stopped_monitor_count", \
"default_runtime"]
crio.metrics.metrics_host "127.0.0.1"
crio.metrics.metrics_port 9090
crio.metrics.metrics_socket ""
crio.metrics.metrics_cert ""
crio.metrics.metrics_key ""
crio.tracing.enable_tracing false
crio.tracing.tracing_endpoint "127.0.0.1:4317"
crio.tracing.tracing_sampling_rate_per_million 0
crio.nri.enable_nri true
crio.nri.nri_listen "/var/run/nri/nri.sock"
crio.nri.nri_plugin_dir "/opt/nri/plugins"
crio.nri.nri_plugin_config_dir "/etc/nri/conf.d"
crio.nri.nri_disable_connections false
crio.nri.nri_plugin_registration_timeout "5s"
crio.nri.nri_plugin_request_timeout "2s"
crio.nri.default_validator.nri_enable_default_validator false
crio.nri.default_validator.nri_validator_reject_oci_hook_adjustment false
crio.nri.default_validator.nri_validator_reject_runtime_default_seccomp_adjustment false
crio.nri.default_validator.nri_validator_reject_unconfined_seccomp_adjustment false
crio.nri.default_validator.nri_validator_reject_custom_seccomp_adjustment false
crio.nri.default_validator.nri_validator_reject_namespace_adjustment false
crio.nri.default_validator.nri_validator_required_plugins []
crio.nri.default_validator.nri_validator_tolerate_missing_plugins_annotation ""
crio.stats.stats_collection_period 0
crio.stats.collection_period 0
crio.stats.included_pod_metrics []
"""

# Names of flags and variables that do not follow from the key's name. "-": there is none.
ODD_FLAGS = """
storage_option storage-opt
log_to_journald log-journald
network_dir cni-config-dir
plugin_dirs cni-plugin-dir
plugin_dir -
insecure_registries insecure-registry
default_mounts -
container_level_enabled checkpoint-restore-container-level-enabled
"""
ODD_VARIABLES = """
storage_option CONTAINER_STORAGE_OPT
separate_pull_cgroup PULL_IN_A_CGROUP
cni_status_grace_period CNI_STATUS_GRACE_PERIOD
auto_reload_registries AUTO_RELOAD_REGISTRIES
stream_idle_timeout STREAM_IDLE_TIMEOUT
collection_period COLLECTION_PERIOD
enable_pod_events ENABLE_POD_EVENTS
disable_hostport_mapping DISABLE_HOSTPORT_MAPPING
log_to_journald CONTAINER_LOG_JOURNALD
network_dir CONTAINER_CNI_CONFIG_DIR
plugin_dirs CONTAINER_CNI_PLUGIN_DIR
plugin_dir -
insecure_registries CONTAINER_INSECURE_REGISTRY
default_mounts -
min_injected_gomaxprocs CONTAINER_INJECT_GOMAXPROCS
container_attach_socket_dir CONTAINER_ATTACH_SOCKET_DIR
container_exits_dir CONTAINER_EXITS_DIR
ctr_stop_timeout CONTAINER_STOP_TIMEOUT
stream_enable_tls CONTAINER_ENABLE_TLS
stream_tls_ca CONTAINER_TLS_CA
stream_tls_cert CONTAINER_TLS_CERT
stream_tls_key CONTAINER_TLS_KEY
oci_artifact_mount_support CONTAINER_OCI_ARTIFACT_SUPPORT
timezone CONTAINER_TIME_ZONE
container_level_enabled CONTAINER_CHECKPOINT_RESTORE_CONTAINER_LEVEL_ENABLED
decryption_keys_path -
additional_artifact_stores -
blockio_config_file -
blockio_reload -
irqbalance_config_file -
irqbalance_config_restore_file -
rdt_config_file -
device_ownership_from_security_context -
"""

# Keys that SIGHUP takes over in CRI-O; the others may be live as well.
LIVE = """
log_level log_filter pause_image pause_image_auth_file pause_command pinned_images decryption_keys_path seccomp_profile
privileged_seccomp_profile apparmor_profile blockio_config_file blockio_reload rdt_config_file default_runtime
cdi_spec_dirs
"""

# Values other than the default, for keys whose values are not free.
SAMPLES: dict[str, Any] = {
    "crio.api.stream_port": "10010",
    "crio.api.tls_min_version": "VersionTLS13",
    "crio.api.tls_cipher_suites": ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",),
    "crio.runtime.default_runtime": "crun",
    "crio.runtime.default_ulimits": ("nofile=1024:2048",),
    "crio.runtime.default_env": ("A=b", "C=d"),
    "crio.runtime.conmon_env": ("A=b",),
    "crio.runtime.conmon_cgroup": "pod",
    "crio.runtime.default_capabilities": ("CHOWN", "NET_RAW"),
    "crio.runtime.default_sysctls": ("net.ipv4.ip_unprivileged_port_start=0",),
    "crio.runtime.allowed_devices": ("/dev/kvm",),
    "crio.runtime.additional_devices": ("/dev/sdc:/dev/xvdc:rwm",),
    "crio.runtime.cgroup_manager": "cgroupfs",
    "crio.runtime.log_level": "debug",
    "crio.runtime.log_size_max": 8192,
    "crio.runtime.uid_mappings": "0:100000:65536",
    "crio.runtime.gid_mappings": "0:100000:65536",
    "crio.runtime.ctr_stop_timeout": 31,
    "crio.runtime.infra_ctr_cpuset": "0-1",
    "crio.runtime.shared_cpuset": "0-1",
    "crio.runtime.timezone": "Local",
    "crio.runtime.separate_pull_cgroup": "pod",
    "crio.runtime.enable_criu_support": True,
    "crio.checkpoint_restore.container_level_enabled": "checkpoint_only",
    "crio.image.pause_image": "example.org/pause:1",
    "crio.image.image_volumes": "bind",
    "crio.image.short_name_mode": "disabled",
    "crio.metrics.metrics_collectors": ("operations_total",),
    "crio.metrics.metrics_port": 9537,
    "crio.stats.included_pod_metrics": ("cpu", "memory"),
}
OWN = {"crio.network.cni_add_timeout", "crio.network.cni_del_timeout"}
"""Keys that CRI-O does not have."""
MOVED_ELSEWHERE = {"crio.network.plugin_dir"}
"""Emptied, because its value goes to its successor."""
NEEDS_ANOTHER = {"crio.api.stream_enable_tls", "crio.metrics.metrics_cert", "crio.metrics.metrics_key"}

PLAIN = [entry for entry in entries().values() if "*" not in entry.table]


def sample(entry: Entry) -> Any:
    """A valid value which is not the default, if there is one."""
    if entry.dotted in SAMPLES:
        return SAMPLES[entry.dotted]
    if entry.type is bool:
        return not entry.default
    if entry.key.unit is Unit.DURATION:
        return 90.0
    if entry.type is int:
        return 7
    if entry.type == STRINGS:
        return ("/one", "/two")
    return "/a/path"


def text_of(entry: Entry, value: Any) -> str:
    """The value as flags and variables have it."""
    return ",".join(value) if entry.type == STRINGS else to_toml(entry, value).strip('"')


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment that leads to no files of this machine."""
    storage = tmp_path / "storage.conf"
    storage.write_text("")
    return {
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINER_CONFIG": str(empty(tmp_path / "crio.conf")),
        "CONTAINER_CONFIG_DIR": str(tmp_path / "none"),
    }


def empty(path: Path) -> Path:
    path.write_text("")
    return path


def pairs(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.strip().splitlines())


def test_the_keys_and_their_defaults_are_those_of_cri_o() -> None:
    found = {entry.dotted: " ".join(to_toml(entry, entry.default).split()) for entry in entries().values()}
    for dotted, text in found.items():
        found[dotted] = text.replace("[ ", "[").replace(", ]", "]")
    assert {dotted: text for dotted, text in found.items() if dotted not in OWN} == pairs(DEFAULTS)
    assert set(found) >= OWN


def test_there_are_159_keys() -> None:
    # The maps of handlers and workloads and a workload's resources are keys of their own; default_mounts is in CRI-O's
    # manual only.
    assert len(entries().keys() - OWN) - 1 + 3 == 159


def test_flags_and_variables_have_the_names_of_cri_o() -> None:
    flags, variables = pairs(ODD_FLAGS), pairs(ODD_VARIABLES)
    for entry in PLAIN:
        if entry.dotted in OWN:
            continue
        flag = flags.get(entry.name, entry.name.replace("_", "-"))
        variable = variables.get(entry.name, "-" if ".nri" in entry.table else f"CONTAINER_{entry.name.upper()}")
        assert (entry.flag or "-", entry.env or "-") == (flag, variable), entry.dotted


def test_what_cri_o_reloads_is_live() -> None:
    live = {entry.name for entry in PLAIN if entry.key.reload.value != "restart"}
    assert set(LIVE.split()) <= live


def test_each_key_has_a_text_of_whole_sentences() -> None:
    for entry in entries().values():
        assert entry.key.text.endswith("."), entry.dotted


@pytest.mark.parametrize("entry", PLAIN, ids=lambda entry: entry.dotted)
def test_a_key_takes_effect_from_every_place(entry: Entry, nowhere: dict[str, str], tmp_path: Path) -> None:
    if entry.dotted in MOVED_ELSEWHERE | NEEDS_ANOTHER:
        pytest.skip("covered by a test of its own")
    value = sample(entry)

    def effective(flags: dict[str, str] | None = None, **environ: str) -> Any:
        return value_of(load(flags, {**nowhere, **environ}, check_host=False).config, entry)

    table = f"[{entry.table}]\n"
    file, drop_in = tmp_path / "crio.conf", tmp_path / "none" / "50-x.conf"
    file.write_text(f"{table}{entry.name} = {to_toml(entry, value)}\n")
    assert effective() == value
    file.write_text("")
    drop_in.parent.mkdir()
    drop_in.write_text(f"{table}{entry.name} = {to_toml(entry, value)}\n")
    assert effective() == value
    drop_in.write_text("")
    if entry.env:
        assert effective(None, **{entry.env: text_of(entry, value)}) == value
    if entry.flag:
        assert effective({entry.flag: text_of(entry, value)}) == value


def test_later_places_win(nowhere: dict[str, str], tmp_path: Path) -> None:
    drop_ins = tmp_path / "none"
    (drop_ins / "60-dir").mkdir(parents=True)

    def pause(flags: dict[str, str] | None = None, **environ: str) -> str:
        return load(flags, {**nowhere, **environ}, check_host=False).config.image.pause_image

    def write(path: Path, name: str) -> None:
        path.write_text(f'[crio.image]\npause_image = "{name}"\n')

    write(tmp_path / "crio.conf", "file")
    assert pause() == "file"
    write(drop_ins / "50-a.conf", "a")
    assert pause() == "a"
    write(drop_ins / "60-dir" / "1.conf", "dir")
    assert pause() == "dir"
    write(drop_ins / "70-b.conf", "b")
    assert pause() == "b"
    assert pause(CONTAINER_PAUSE_IMAGE="variable") == "variable"
    assert pause({"pause-image": "flag"}, CONTAINER_PAUSE_IMAGE="variable") == "flag"


def test_what_is_printed_is_read_back_as_the_same() -> None:
    text = """
[crio.runtime.runtimes.kata]
runtime_type = "vm"
runtime_path = "/containerd-shim-kata-v2"
default_annotations = {"a.b/c" = "d", e = "f"}
container_min_memory = "20MiB"
[crio.runtime.workloads."my.load"]
activation_annotation = "x"
resources = {cpushares = 3}
"""
    for table, lines in whole_file().items():
        text += f"[{table}]\n" + "\n".join(lines) + "\n"
    config = parse(text, "first")
    printed = print_config(config, Config(), all_written=True)
    assert parse(printed, "second") == config
    assert parse(print_config(config, parse("", "none")), "third") == config


def whole_file() -> dict[str, list[str]]:
    """All keys with other values than their defaults, as lines by table."""
    tables: dict[str, list[str]] = {}
    for entry in PLAIN:
        if entry.dotted not in MOVED_ELSEWHERE | NEEDS_ANOTHER:
            tables.setdefault(entry.table, []).append(f"{entry.name} = {to_toml(entry, sample(entry))}")
    return tables
