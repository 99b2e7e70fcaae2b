"""Whole configurations: mistakes, handlers, storage.conf, and files as they are found on nodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from crio.config import ConfigError, LoadedConfig, load, parse
from crio.config.printer import print_config
from crio.config.reload import diff


class Node:
    """A machine of its own: its files below a directory, and programs in one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.drop_ins = root / "crio.conf.d"
        self.bin.mkdir()
        self.drop_ins.mkdir()
        self.environ = {
            "PATH": str(self.bin),
            "CONTAINERS_STORAGE_CONF": self.write("storage.conf", ""),
            "CONTAINER_CONFIG": self.write("crio.conf", ""),
            "CONTAINER_CONFIG_DIR": str(self.drop_ins),
        }

    def write(self, name: str, text: str) -> str:
        path = self.root / name
        path.write_text(text)
        return str(path)

    def program(self, name: str) -> str:
        path = self.bin / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    def drop_in(self, name: str, text: str) -> str:
        return self.write(f"crio.conf.d/{name}", text)

    def load(self, *, check_host: bool = True, **flags: Any) -> LoadedConfig:
        return load(flags, self.environ, check_host=check_host)

    def problems(self, **flags: Any) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(**flags)
        return [str(problem).removeprefix(f"{self.root}/") for problem in caught.value.problems]

    def warnings(self) -> list[str]:
        return [str(problem).removeprefix(f"{self.root}/") for problem in self.load().warnings]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    # The usual directories of programs must not lend this machine's runtimes to the node under test.
    monkeypatch.setattr("crio.config.host.DEFAULT_PATH", "")
    node = Node(tmp_path)
    node.program("crun")
    return node


def test_nothing_configured_is_crun_with_defaults(node: Node) -> None:
    loaded = node.load()
    handler = loaded.config.runtime.runtimes["crun"]
    assert loaded.warnings == ()
    assert loaded.config.runtime.default_runtime == "crun"
    assert handler.runtime_path == str(node.bin / "crun")
    assert handler.runtime_root == "/run/crun"
    assert handler.container_min_memory == 500 * 1024
    assert handler.monitor_cgroup == "system.slice"
    assert "devices.crio.io" in handler.allowed_annotations


def test_runc_is_the_default_where_only_it_exists(node: Node) -> None:
    os.unlink(node.bin / "crun")
    node.program("runc")
    config = node.load().config
    assert config.runtime.default_runtime == "runc"
    assert config.runtime.runtimes["runc"].runtime_root == "/run/runc"
    assert set(config.runtime.runtimes) == {"runc"}


def test_what_a_daemon_with_runc_alone_tells_makes_its_configuration_again(node: Node) -> None:
    os.unlink(node.bin / "crun")
    node.program("runc")
    config = node.load().config
    told = print_config(config, config, all_written=True, comments=False)
    assert list(diff(parse(told, "x"), config)) == []


def test_no_runtime_at_all_is_an_error(node: Node) -> None:
    os.unlink(node.bin / "crun")
    (problem,) = node.problems()
    assert "the default runtime handler crun cannot be used: there is no program crun in PATH" in problem


def test_all_mistakes_are_reported_at_once_with_their_lines(node: Node) -> None:
    node.drop_in(
        "10-a.conf",
        '[crio]\n# a comment\nlog_dir = 5\n\n[crio.runtime]\nlog_level = "loud"\ndefault_sysctls = ["a"]\n'
        'pids_limit = "many"\n[crio.image]\npause_image = "UPPER"\nunkown = 1\n',
    )
    node.drop_in(
        "20-b.conf", '[crio.network]\nplugin_dirs = "/opt"\n[crio.runtime.runtimes.crun]\nruntime_type = "x"\n'
    )
    node.environ["CONTAINER_METRICS_PORT"] = "x"
    assert node.problems(**{"ctr-stop-timeout": "soon"}) == [
        "crio.conf.d/10-a.conf:3: log_dir must be a string, but is the number 5",
        'crio.conf.d/10-a.conf:6: log_level must be one of "fatal", "panic", "error", "warn", "warning", "info", '
        '"debug", "trace", but is "loud"',
        'crio.conf.d/10-a.conf:8: pids_limit must be a whole number, but is the string "many"',
        'crio.conf.d/20-b.conf:2: plugin_dirs must be a list of strings, but is the string "/opt"',
        'crio.conf.d/20-b.conf:4: runtime_type must be one of "oci", "vm", "pod", but is "x"',
        'environment variable CONTAINER_METRICS_PORT: metrics_port must be a whole number, but is "x"',
        'flag --ctr-stop-timeout: ctr_stop_timeout must be a whole number, but is "soon"',
        'crio.conf.d/10-a.conf:7: default_sysctls must have elements of the form "name=value", but has "a"',
        'crio.conf.d/10-a.conf:10: pause_image must be the name of an image, but is "UPPER"',
    ]


def test_a_file_that_is_not_toml_says_where(node: Node) -> None:
    node.drop_in("10.conf", "[crio]\nroot = \n")
    (problem,) = node.problems()
    assert problem.startswith("crio.conf.d/10.conf:2: is not TOML: ")


def test_binary_and_huge_files_are_refused(node: Node) -> None:
    (node.drop_ins / "1").write_bytes(b"\xff\xfe")
    (node.drop_ins / "2").write_bytes(b"#" * (1 << 20) + b"#")
    (node.drop_ins / "3").write_text("a = " + "[" * 5000)
    assert [problem.split(": ", 1)[1][:26] for problem in node.problems()] == [
        "is not UTF-8 text",
        "is longer than 1048576 byt",
        "is nested too deeply",
    ]


def test_unknown_keys_are_warnings_with_the_nearest_known_one(node: Node) -> None:
    node.drop_in(
        "1.conf",
        'version = 2\n[crio.runtime]\nlog_levell = "info"\npause_image = "x"\nzzzzzz = 1\n'
        "[crio.runtime.runtimes.crun]\nruntime_pat = 1\n[crio.metric]\nx = 1\n",
    )
    assert node.warnings() == [
        "crio.conf.d/1.conf:1: unknown key version; the nearest known key is version_file",
        "crio.conf.d/1.conf:3: unknown key log_levell in [crio.runtime]; the nearest known key is log_level",
        "crio.conf.d/1.conf:4: unknown key pause_image in [crio.runtime]; it belongs in [crio.image]",
        "crio.conf.d/1.conf:5: unknown key zzzzzz in [crio.runtime]",
        "crio.conf.d/1.conf:7: unknown key runtime_pat in [crio.runtime.runtimes.crun]; the nearest known key is "
        "runtime_path",
        "crio.conf.d/1.conf:8: unknown key metric in [crio]; the nearest known key is metrics",
    ]
    assert all(problem.unknown_key for problem in node.load().warnings)


def test_removed_and_deprecated_keys_name_their_successors(node: Node) -> None:
    node.drop_in("1.conf", '[crio.runtime]\nmanage_ns_lifecycle = true\nconmon_cgroup = "pod"\n')
    assert node.warnings() == [
        "crio.conf.d/1.conf:2: manage_ns_lifecycle has no effect any more; namespaces of pods are always managed",
        "crio.conf.d/1.conf:3: conmon_cgroup is deprecated; use monitor_cgroup of the runtime handler",
    ]
    assert node.load().config.runtime.runtimes["crun"].monitor_cgroup == "pod"


def test_a_named_file_must_exist_and_the_usual_one_need_not(node: Node) -> None:
    node.environ["CONTAINER_CONFIG"] = str(node.root / "missing.conf")
    assert node.problems() == ["missing.conf: cannot be read: No such file or directory"]
    node.environ["CONTAINER_CONFIG_DIR"] = str(node.root / "missing.d")
    del node.environ["CONTAINER_CONFIG"]
    assert node.load().config.image.pause_command == "/pause"


def test_an_empty_flag_for_the_directory_means_no_drop_ins(node: Node) -> None:
    node.drop_in("1.conf", "[crio]\nlog_dir = '/a'\n")
    assert node.load().config.crio.log_dir == "/a"
    loaded = load({"config-dir": ""}, node.environ)
    assert loaded.config.crio.log_dir == "/var/log/crio/pods"
    assert load(loaded.flags, node.environ, loaded.config_path, loaded.config_dir).files == loaded.files


def test_an_empty_variable_is_not_set(node: Node) -> None:
    node.environ["CONTAINER_PAUSE_IMAGE"] = ""
    assert node.load().config.image.pause_image == "registry.k8s.io/pause:3.10.1"


def test_sources_tell_where_a_value_comes_from(node: Node) -> None:
    path = node.drop_in("1.conf", '[crio.runtime]\n\nlog_level = "debug"\n')
    loaded = node.load(listen="/run/x.sock")
    assert str(loaded.sources["crio.runtime.log_level"]) == f"{path}:3"
    assert str(loaded.sources["crio.api.listen"]) == "flag --listen"
    assert loaded.files == (str(node.root / "crio.conf"), path)


class TestHandlers:
    def test_a_broken_one_is_left_out_with_a_warning(self, node: Node) -> None:
        node.drop_in("1.conf", '[crio.runtime.runtimes.kata]\nruntime_path = "/nowhere/kata"\n')
        assert node.warnings() == [
            "crio.conf.d/1.conf:1: runtime handler kata is left out: runtime_path /nowhere/kata does not exist"
        ]
        assert set(node.load().config.runtime.runtimes) == {"crun"}

    def test_a_broken_default_one_is_an_error(self, node: Node) -> None:
        node.drop_in(
            "1.conf",
            '[crio.runtime]\ndefault_runtime = "kata"\n[crio.runtime.runtimes.kata]\nruntime_path = "/nowhere/kata"\n',
        )
        assert node.problems() == [
            "crio.conf.d/1.conf:3: the default runtime handler kata cannot be used: runtime_path /nowhere/kata does "
            "not exist"
        ]

    def test_a_default_without_table_is_an_error(self, node: Node) -> None:
        node.drop_in("1.conf", '[crio.runtime]\ndefault_runtime = "youki"\n')
        assert node.problems() == [
            'crio.conf.d/1.conf:2: default_runtime is "youki", but there is no table [crio.runtime.runtimes.youki]'
        ]

    def test_a_later_table_replaces_an_earlier_one_as_a_whole(self, node: Node) -> None:
        node.drop_in("1.conf", '[crio.runtime.runtimes.crun]\nruntime_root = "/run/a"\ncontainer_min_memory = "1MiB"\n')
        node.drop_in("2.conf", '[crio.runtime.runtimes.crun]\nmonitor_cgroup = "pod"\n')
        handler = node.load().config.runtime.runtimes["crun"]
        assert (handler.runtime_root, handler.container_min_memory) == ("/run/crun", 12 * 1024 * 1024)
        assert handler.allowed_annotations == ()

    def test_inheritance_takes_the_program_of_the_default(self, node: Node) -> None:
        path = node.program("special")
        node.drop_in(
            "1.conf",
            f'[crio.runtime.runtimes.crun]\nruntime_path = "{path}"\nruntime_root = "/run/special"\n'
            "[crio.runtime.runtimes.high-performance]\ninherit_default_runtime = true\n"
            'allowed_annotations = ["cpu-quota.crio.io"]\n',
        )
        handler = node.load().config.runtime.runtimes["high-performance"]
        assert (handler.runtime_path, handler.runtime_root) == (path, "/run/special")
        assert handler.allowed_annotations == ("cpu-quota.crio.io",)

    def test_the_flag_makes_handlers(self, node: Node) -> None:
        path = node.program("other")
        handler = node.load(runtimes=f"other:{path}:/run/o:oci:true::20MiB").config.runtime.runtimes["other"]
        assert handler.runtime_path == path
        assert handler.runtime_root == "/run/o"
        assert handler.privileged_without_host_devices
        assert handler.container_min_memory == 20 << 20
        assert node.problems(runtimes="other") == [
            'flag --runtimes: must have the form name:path:root[:type[:...]], but is "other"'
        ]

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ('runtime_config_path = "/x"', 'runtime_config_path is for runtime_type "vm" only'),
            ('runtime_type = "vm"\nno_sync_log = true', 'no_sync_log is for runtime_type "oci" only'),
            ("stream_websockets = true", 'stream_websockets is for runtime_type "pod" only'),
            ('runtime_type = "vm"', "crun must be named containerd-shim-..., as VM runtimes' programs are"),
            ('seccomp_profile = "/none"', "seccomp_profile /none does not exist"),
            ('monitor_cgroup = "x"', 'monitor_cgroup must be "pod" or a slice with systemd, but is "x"'),
            (
                'allowed_annotations = ["devices.crio.oi"]',
                'allowed_annotations has "devices.crio.oi", which has no special meaning; the nearest known name is '
                "devices.crio.io",
            ),
        ],
    )
    def test_what_cannot_be(self, node: Node, fields: str, reason: str) -> None:
        node.drop_in("1.conf", f"[crio.runtime.runtimes.crun]\n{fields}\n")
        (problem,) = node.problems()
        assert problem.endswith(reason)

    def test_a_short_timeout_is_raised(self, node: Node) -> None:
        node.drop_in("1.conf", "[crio.runtime.runtimes.crun]\ncontainer_create_timeout = 5\n")
        assert node.load().config.runtime.runtimes["crun"].container_create_timeout == 30
        assert node.warnings() == [
            "crio.conf.d/1.conf:1: container_create_timeout of crun is raised from 5 to 30 seconds"
        ]

    def test_with_cgroupfs_monitors_stay_in_the_daemons_cgroup(self, node: Node) -> None:
        node.drop_in("1.conf", '[crio.runtime]\ncgroup_manager = "cgroupfs"\n')
        assert node.load().config.runtime.runtimes["crun"].monitor_cgroup == ""
        node.drop_in("2.conf", '[crio.runtime]\nconmon_cgroup = "my.slice"\n')
        (problem,) = node.problems()
        assert problem.endswith('monitor_cgroup must be "pod" or empty with cgroupfs, but is "my.slice"')


def test_a_workload_needs_an_activation_annotation(node: Node) -> None:
    node.drop_in("1.conf", '[crio.runtime.workloads.w]\nannotation_prefix = "x"\n')
    assert node.problems() == ["crio.conf.d/1.conf:1: workload w needs an activation_annotation"]


def test_a_workload_has_resources(node: Node) -> None:
    node.drop_in(
        "1.conf",
        '[crio.runtime.workloads.w]\nactivation_annotation = "a"\nannotation_prefix = "x"\n'
        '[crio.runtime.workloads.w.resources]\ncpushares = 2\ncpuset = "0-3"\n',
    )
    workload = node.load().config.runtime.workloads["w"]
    assert (workload.resources.cpushares, workload.resources.cpuset, workload.resources.cpuquota) == (2, "0-3", 0)


class TestStorage:
    CONF = (
        '[storage]\ndriver = "overlay"\ngraphroot = "/g"\nrunroot = "/r"\n'
        '[storage.options]\nadditionalimagestores = ["/ro"]\n[storage.options.overlay]\nmountopt = "nodev"\n'
    )

    def test_defaults_come_from_storage_conf(self, node: Node) -> None:
        node.write("storage.conf", self.CONF)
        crio = node.load().config.crio
        assert (crio.root, crio.runroot, crio.storage_driver) == ("/g", "/r", "overlay")
        assert crio.storage_option == ("overlay.additionalimagestore=/ro", "overlay.mountopt=nodev")

    def test_options_add_up_and_the_rest_is_replaced(self, node: Node) -> None:
        node.write("storage.conf", self.CONF)
        node.drop_in(
            "1.conf", '[crio]\nroot = "/x"\nrunroot = ""\nstorage_option = ["a=b", "overlay.mountopt=nodev"]\n'
        )
        node.drop_in("2.conf", '[crio]\nstorage_option = ["c=d", "a=b"]\n')
        crio = node.load().config.crio
        assert (crio.root, crio.runroot) == ("/x", "/r")
        assert crio.storage_option == ("overlay.additionalimagestore=/ro", "overlay.mountopt=nodev", "c=d", "a=b")

    def test_variables_of_the_storage_go_before_its_file(self, node: Node) -> None:
        node.write("storage.conf", self.CONF)
        node.environ |= {"STORAGE_DRIVER": "vfs", "STORAGE_OPTS": "vfs.a=b,overlay.mountopt=nodev,metacopy=on"}
        crio = node.load().config.crio
        assert crio.storage_driver == "vfs"
        assert crio.storage_option == ("vfs.a=b", "overlay.mountopt=nodev,metacopy=on")

    def test_a_broken_storage_conf_is_an_error(self, node: Node) -> None:
        path = node.write("storage.conf", "[storage\n")
        (problem,) = node.problems()
        assert problem.startswith(f"storage.conf: cannot read {path}: ")


def test_tls_needs_both_files(node: Node) -> None:
    node.drop_in("1.conf", '[crio.api]\nstream_enable_tls = true\n[crio.metrics]\nmetrics_cert = "/c"\n')
    assert node.problems() == [
        "crio.conf.d/1.conf:2: stream_enable_tls is true, but stream_tls_cert is empty",
        "crio.conf.d/1.conf:2: stream_enable_tls is true, but stream_tls_key is empty",
        "crio.conf.d/1.conf:4: metrics_cert needs metrics_key",
    ]


def test_what_is_corrected_by_itself(node: Node) -> None:
    node.drop_in(
        "1.conf",
        "[crio.runtime]\nctr_stop_timeout = 3\nenable_criu_support = false\n[crio.api]\ngrpc_max_send_msg_size = -1\n"
        '[crio.network]\nplugin_dir = "/old"\n[crio.metrics]\nmetrics_collectors = ["crio_operations_total", '
        '"container_runtime_crio_processes_defunct"]\n[crio.image]\nseparate_pull_cgroup = "pod"\n',
    )
    config = node.load().config
    assert config.runtime.ctr_stop_timeout == 30
    assert config.checkpoint_restore.container_level_enabled == "none"
    assert config.api.grpc_max_send_msg_size == 80 << 20
    assert config.network.plugin_dirs == ("/opt/cni/bin", "/old")
    assert config.metrics.metrics_collectors == ("operations_total", "processes_defunct")
    assert config.runtime.separate_pull_cgroup == "pod"


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("crio.runtime", 'default_ulimits = ["nofile"]'),
        ("crio.runtime", 'default_ulimits = ["nofile=5:4"]'),
        ("crio.runtime", 'default_ulimits = ["files=5:5"]'),
        ("crio.runtime", 'default_env = ["=x"]'),
        ("crio.runtime", 'default_sysctls = ["kernel.shm_rmid_forced=1+kernel.core_pattern=x"]'),
        ("crio.runtime", 'default_capabilities = ["not one"]'),
        ("crio.runtime", 'additional_devices = ["/dev/a:/dev/b:x"]'),
        ("crio.runtime", 'infra_ctr_cpuset = "3-1"'),
        ("crio.runtime", 'shared_cpuset = "0-999999"'),
        ("crio.runtime", 'log_filter = "("'),
        ("crio.runtime", 'timezone = "Europe/Nowhere"'),
        ("crio.runtime", 'timezone = "../../../etc/passwd"'),
        ("crio.runtime", "log_size_max = 100"),
        ("crio.runtime", 'uid_mappings = "0:1"'),
        ("crio.runtime", 'separate_pull_cgroup = "x"'),
        ("crio.runtime", 'separate_pull_cgroup = "/a/../b"\ncgroup_manager = "cgroupfs"'),
        ("crio.runtime", 'separate_pull_cgroup = "/a/b.slice"'),
        ("crio.runtime", 'separate_pull_cgroup = "/with-systemd"'),
        ("crio.runtime", 'separate_pull_cgroup = "a.slice"\ncgroup_manager = "cgroupfs"'),
        ("crio.image", 'signature_policy_dir = "x"'),
        ("crio.image", 'pull_progress_timeout = "soon"'),
        ("crio.image", "pull_progress_timeout = -1"),
        ("crio.network", 'cni_status_grace_period = "-1s"'),
        ("crio.metrics", "metrics_port = 70000"),
        ("crio.stats", 'included_pod_metrics = ["all", "cpu"]'),
        ("crio.stats", 'included_pod_metrics = ["gpu"]'),
        ("crio.tracing", "tracing_sampling_rate_per_million = 1000001"),
        ("crio.api", 'stream_port = "http"'),
        ("crio.api", 'listen = "crio.sock"'),
    ],
)
def test_values_that_cannot_be(table: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[{table}]\n{line}\n", "x.conf")
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"x.conf:2: {line.split(' ')[0]} ")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        pytest.param("crio.runtime", 'log_filter = "a{99999999999999999999}"', id="repetitions"),
        pytest.param("crio.runtime", f'log_filter = "{"(" * 9999}{")" * 9999}"', id="brackets"),
        pytest.param("crio.image", f"pull_progress_timeout = {10**400}", id="nanoseconds"),
        pytest.param("crio.image", f'pull_progress_timeout = "{"9" * 400}h"', id="hours"),
        pytest.param("crio.runtime.runtimes.x", f'container_min_memory = "{"9" * 400}"', id="bytes"),
        pytest.param("crio.api", f"grpc_max_send_msg_size = {'9' * 5000}", id="digits"),
    ],
)
def test_what_is_too_large_for_anything_is_a_mistake_like_others(table: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[{table}]\n{line}\n", "x.conf")
    assert len(caught.value.problems) == 1


def test_a_level_may_have_capitals() -> None:
    assert parse('[crio.runtime]\nlog_level = "Warn"\n', "x").runtime.log_level == "warn"


class TestMinikube:
    """minikube edits a drop-in of its image with sed, and reads `crio config`."""

    SHIPPED = """[crio.image]
# pause_image = ""

[crio.network]
# cni_default_network = ""

[crio.runtime]
# cgroup_manager = ""
"""

    def test_after_its_edits_the_values_are_in_force(self, node: Node) -> None:
        path = node.drop_in("02-crio.conf", self.SHIPPED)
        script = [
            r's|^.*pause_image = .*$|pause_image = "registry.k8s.io/pause:3.10"|',
            r's|^.*cgroup_manager = .*$|cgroup_manager = "cgroupfs"|',
            r"/conmon_cgroup = .*/d",
            r'/cgroup_manager = .*/a conmon_cgroup = "pod"',
            r'/conmon_cgroup = .*/a default_sysctls = \[\n  "net.ipv4.ip_unprivileged_port_start=0",\n\]',
            r's|^.*cni_default_network = .*$|cni_default_network = "kindnet"|',
        ]
        for edit in script:
            assert os.spawnlp(os.P_WAIT, "sed", "sed", edit, "-i", path) == 0
        flags: dict[str, Any] = {"insecure-registry": "10.96.0.0/12"}
        config = node.load(**flags).config
        assert config.image.pause_image == "registry.k8s.io/pause:3.10"
        assert config.runtime.cgroup_manager == "cgroupfs"
        assert config.runtime.runtimes["crun"].monitor_cgroup == "pod"
        assert config.runtime.default_sysctls == ("net.ipv4.ip_unprivileged_port_start=0",)
        assert config.network.cni_default_network == "kindnet"
        assert config.image.insecure_registries == ("10.96.0.0/12",)


class TestOpenShift:
    """Drop-ins as a machine configuration operator writes them."""

    DEFAULT = """[crio]
internal_wipe = true
internal_repair = true

[crio.api]
stream_address = ""
stream_port = "10010"

[crio.runtime]
selinux = true
conmon = ""
conmon_cgroup = "pod"
default_env = [
    "NSS_SDB_USE_CACHE=no",
]
default_runtime = "crun"
log_level = "info"
cgroup_manager = "systemd"
default_sysctls = [
    "net.ipv4.ping_group_range=0 2147483647",
]
hooks_dir = [
    "/etc/containers/oci/hooks.d",
    "/run/containers/oci/hooks.d",
    "/usr/share/containers/oci/hooks.d",
]
absent_mount_sources_to_reject = [
    "/etc/hostname",
]
drop_infra_ctr = true

[crio.runtime.runtimes.runc]
runtime_root = "/run/runc"
allowed_annotations = [
    "io.containers.trace-syscall",
    "io.kubernetes.cri-o.Devices",
]

[crio.runtime.runtimes.crun]
runtime_root = "/run/crun"
allowed_annotations = [
    "io.containers.trace-syscall",
    "io.kubernetes.cri-o.Devices",
    "io.kubernetes.cri-o.LinkLogs",
]

[crio.runtime.workloads.openshift-builder]
activation_annotation = "io.openshift.builder"
allowed_annotations = [
  "io.kubernetes.cri-o.userns-mode",
  "io.kubernetes.cri-o.Devices"
]
[crio.runtime.workloads.openshift-builder.resources]

[crio.image]
global_auth_file = "/var/lib/kubelet/config.json"
pause_image = "quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:%s"
pause_image_auth_file = "/var/lib/kubelet/config.json"
pause_command = "/usr/bin/pod"

[crio.network]
network_dir = "/etc/kubernetes/cni/net.d/"
plugin_dirs = [
    "/var/lib/cni/bin",
    "/usr/libexec/cni",
]

[crio.metrics]
enable_metrics = true
metrics_host = "127.0.0.1"
metrics_port = 9537
metrics_collectors = [
  "operations",
  "operations_latency_microseconds_total",
]
"""

    def test_its_drop_ins(self, node: Node) -> None:
        text = self.DEFAULT % ("0" * 64)
        node.drop_in("00-default", text)
        node.drop_in("01-ctrcfg-logLevel", '[crio]\n  [crio.runtime]\n    log_level = "debug"\n')
        node.drop_in("01-ctrcfg-pidsLimit", "[crio.runtime]\npids_limit = 4096\n")
        node.drop_in("crio-runtime", '[crio.runtime]\ndefault_ulimits = ["nofile=65536:1048576"]\n')
        config = node.load().config
        assert config.runtime.log_level == "debug"
        assert config.runtime.pids_limit == 4096
        assert config.runtime.default_ulimits == ("nofile=65536:1048576",)
        assert config.runtime.runtimes["crun"].monitor_cgroup == "pod"
        assert config.runtime.workloads["openshift-builder"].activation_annotation == "io.openshift.builder"
        assert config.network.plugin_dirs == ("/var/lib/cni/bin", "/usr/libexec/cni")
        assert config.metrics.metrics_port == 9537
        assert config.metrics.metrics_collectors == ()
        assert any(
            warning.endswith('metrics_collectors has "operations", which is no metric; the nearest is operations_total')
            for warning in node.warnings()
        )
        assert "runc" not in config.runtime.runtimes
        node.program("runc")
        assert node.load().config.runtime.runtimes["runc"].runtime_root == "/run/runc"
