"""The joined specification: its parts on paper, and then inside real containers of both runtimes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cgroup_hybrid import crun_cgroups
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.config.tables.handler import RuntimeHandler
from crio.config.tables.runtime import Runtime
from crio.container.specgen.build import build_spec
from crio.container.specgen.input import HandlerFacts, ImageFacts, SandboxFacts
from crio.container.specgen.plan import ContainerPlan, MakeDirectory, MakeLink
from crio.inject.cdi import CdiRegistry
from crio.inject.hooks import HookDirectories
from crio.linux import mount, namespaces
from crio.linux.cgroup import detect
from crio.spec import oci_runtime as oci
from spec_input import (
    container_config,
    host,
    make_input,
    make_root,
    plain_host,
    pod_config,
    remove_cgroups,
    run,
    shell,
)

RUNTIMES = [name for name in ("crun", "runc") if shutil.which(name)]
SHM = Path("/dev/shm")


def plan(directory: Path, **changes: Any) -> ContainerPlan:
    return build_spec(make_input(directory, **changes))


def mount_at(spec: oci.Spec, place: str) -> oci.Mount:
    return next(mount for mount in spec.mounts if mount.destination == place)


def privileged_pod() -> dict[str, Any]:
    config, pod = container_config(), pod_config()
    config.linux.security_context.privileged = True
    pod.linux.security_context.privileged = True
    return {"config": config, "sandbox_config": pod}


def test_plain_container(tmp_path: Path) -> None:
    made = plan(tmp_path)
    spec = made.spec
    assert spec.process.args == ["sh"]
    assert spec.process.user == oci.User(0, 0, None, [0])
    assert "HOME=/root" in spec.process.env
    assert spec.process.cwd == "/"
    assert spec.linux.cgroups_path.endswith(f"/crio-{spec.annotations['io.kubernetes.cri-o.ContainerID']}")
    assert spec.linux.resources.devices == [oci.DeviceRule(False, access="rwm")]
    assert "/proc/asound" in spec.linux.masked_paths
    assert [mount.destination for mount in spec.mounts][:3] == ["/proc", "/dev", "/sys"]
    assert mount_at(spec, "/sys").options[-1] == "ro"
    assert made.effects == [MakeDirectory("/etc", 0o755, 0, 0), MakeLink("/etc/mtab", "/proc/mounts")]
    assert made.stop_signal.name == "SIGTERM"
    assert oci.encode(oci.decode(oci.encode(spec))) == oci.encode(spec)


def test_two_containers_share_nothing_that_changes(tmp_path: Path) -> None:
    """CVE-2021-21334: what is added to one must not show in the other."""
    given = make_input(tmp_path)
    first, second = build_spec(given).spec, build_spec(given).spec
    before = oci.encode(second)
    first.process.env.append("LEAK=1")
    first.process.user.additional_gids.append(7)
    first.linux.masked_paths.clear()
    first.linux.resources.devices.clear()
    first.annotations["x"] = "y"
    for one in first.mounts:
        one.options.append("x")
    assert oci.encode(second) == before
    fresh = oci.decode(oci.encode(build_spec(given).spec))
    assert oci.encode(fresh) == before


def test_privileged_needs_a_privileged_pod(tmp_path: Path) -> None:
    config = container_config()
    config.linux.security_context.privileged = True
    with pytest.raises(InvalidArgument, match="its pod sandbox is not"):
        plan(tmp_path, config=config)


def test_privileged(tmp_path: Path) -> None:
    changes = privileged_pod()
    changes["config"].linux.security_context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
    spec = plan(tmp_path, **changes, host=plain_host(apparmor=True)).spec
    assert spec.process.capabilities is not None
    assert len(spec.process.capabilities.bounding) == 41
    assert spec.process.apparmor_profile == ""
    assert spec.linux.masked_paths == spec.linux.readonly_paths == []
    assert spec.linux.seccomp is oci.NONE
    assert spec.linux.resources.devices == [oci.DeviceRule(True, access="rwm")]
    assert "rw" in mount_at(spec, "/sys").options
    assert not any("ro" in mount.options for mount in spec.mounts)
    assert {"/dev/null"} <= {device.path for device in spec.linux.devices}


def test_privileged_without_host_devices(tmp_path: Path) -> None:
    handler = HandlerFacts(settings=RuntimeHandler(privileged_without_host_devices=True))
    spec = plan(tmp_path, **privileged_pod(), handler=handler).spec
    assert spec.linux.devices == []
    assert spec.linux.resources.devices == [oci.DeviceRule(False, access="rwm")]


def test_annotations_count_only_when_allowed(tmp_path: Path) -> None:
    """CVE-2023-6476, CVE-2024-3154."""
    pod = pod_config(
        annotations={
            "unified-cgroup.crio.io/app": "memory.high=max",
            "devices.crio.io": "/dev/null:/dev/x",
            "umask.crio.io": "0077",
            "org.systemd.property.ExecStopPost": "evil",
            "team": "a",
        }
    )
    config = container_config(annotations={"run.oci.hooks.stderr": "/x", "note": "b"})
    spec = plan(tmp_path, sandbox_config=pod, config=config).spec
    assert spec.linux.resources.unified == {}
    assert spec.linux.devices == []
    assert spec.process.user.umask is None
    assert {"team", "note"} <= spec.annotations.keys()
    assert not {"org.systemd.property.ExecStopPost", "run.oci.hooks.stderr", "umask.crio.io"} & spec.annotations.keys()
    allowed = RuntimeHandler(allowed_annotations=("unified-cgroup.crio.io", "devices.crio.io", "umask.crio.io"))
    runtime = Runtime(cgroup_manager="cgroupfs", allowed_devices=("/dev/null",))
    spec = plan(tmp_path, sandbox_config=pod, handler=HandlerFacts(settings=allowed), runtime=runtime).spec
    assert spec.linux.resources.unified == {"memory.high": "max"}
    assert [device.path for device in spec.linux.devices] == ["/dev/x"]
    assert spec.process.user.umask == 0o77


def test_devices_over_configuration(tmp_path: Path) -> None:
    config = container_config(devices=[pb.Device(host_path="/dev/null", container_path="/dev/n")])
    config.linux.security_context.run_as_user.value = 1000
    runtime = Runtime(
        cgroup_manager="cgroupfs",
        additional_devices=("/dev/zero:/dev/z:r",),
        device_ownership_from_security_context=True,
    )
    devices = plan(tmp_path, config=config, runtime=runtime).spec.linux.devices
    assert [(device.path, device.uid) for device in devices] == [("/dev/z", 0), ("/dev/n", 1000)]


def test_systemd_inside(tmp_path: Path) -> None:
    config = container_config(command=["/sbin/init"])
    spec = plan(tmp_path, config=config, host=plain_host(cgroup_version=2)).spec
    assert "container=crio" in spec.process.env
    assert mount_at(spec, "/run").type == "tmpfs"
    assert mount_at(spec, "/sys/fs/cgroup").options == ["private", "rw"]
    spec = plan(tmp_path, config=config, host=plain_host(cgroup_version=1)).spec
    assert mount_at(spec, "/sys/fs/cgroup/systemd").type == "bind"
    assert "/sys/fs/cgroup/systemd/release_agent" in spec.linux.masked_paths


def test_read_only_by_configuration(tmp_path: Path) -> None:
    spec = plan(tmp_path, runtime=Runtime(cgroup_manager="cgroupfs", read_only=True)).spec
    assert spec.root.readonly
    assert {"/run", "/tmp", "/var/tmp"} <= {mount.destination for mount in spec.mounts if mount.type == "tmpfs"}


def test_user_namespace(tmp_path: Path) -> None:
    mapping = [oci.IdMapping(0, 100_000, 65_536)]
    sandbox = SandboxFacts(
        id="a", name="p", namespaces={"user": "/run/userns/1"}, uid_mappings=mapping, gid_mappings=mapping
    )
    weak = plain_host(capabilities=frozenset({"CAP_CHOWN"}), cgroup_version=2)
    made = plan(tmp_path, sandbox=sandbox, host=weak, config=container_config(working_dir="/srv"))
    spec = made.spec
    assert oci.Namespace("user", "/run/userns/1") in spec.linux.namespaces
    assert spec.linux.uid_mappings == mapping
    assert mount_at(spec, "/sys").type == "bind"
    assert "gid=5" in mount_at(spec, "/dev/pts").options
    assert spec.process.capabilities is not None
    assert "CAP_KILL" in spec.process.capabilities.bounding
    assert isinstance(made.effects[0], MakeDirectory)
    assert made.effects[0].path == "/srv"
    assert made.warnings == []
    small = replace(sandbox, gid_mappings=[oci.IdMapping(0, 100_000, 1)])
    assert "gid=5" not in mount_at(plan(tmp_path, sandbox=small).spec, "/dev/pts").options


def test_what_the_daemon_cannot_give_is_told(tmp_path: Path) -> None:
    host = plain_host(known_capabilities=("CAP_CHOWN", "CAP_KILL"), capabilities=frozenset({"CAP_CHOWN"}))
    made = plan(tmp_path, host=host, runtime=Runtime(default_capabilities=("CHOWN", "KILL")))
    assert made.spec.process.capabilities is not None
    assert made.spec.process.capabilities.bounding == ["CAP_CHOWN"]
    assert made.warnings == ["capabilities that the daemon itself lacks are withheld: CAP_KILL"]


def test_hooks_and_devices_of_vendors(tmp_path: Path) -> None:
    hooks, cdi = tmp_path / "hooks", tmp_path / "cdi"
    hooks.mkdir()
    cdi.mkdir()
    (hooks / "h.json").write_text(
        '{"version": "1.0.0", "hook": {"path": "/bin/true"}, "when": {"always": true}, "stages": ["poststop"]}'
    )
    (cdi / "c.json").write_text(
        '{"cdiVersion": "0.6.0", "kind": "v/c", "devices": [{"name": "x", "containerEdits": {"env": ["X=1"]}}]}'
    )
    config = container_config(CDI_devices=[pb.CDIDevice(name="v/c=x")])
    spec = plan(tmp_path, config=config, hooks=HookDirectories([str(hooks)]), cdi=CdiRegistry([str(cdi)])).spec
    assert spec.hooks is not None
    assert spec.hooks.poststop[0].path == "/bin/true"
    assert "X=1" in spec.process.env
    with pytest.raises(InvalidArgument, match="CDI"):
        plan(tmp_path, config=config)


def test_seccomp_program_reaches_crun(tmp_path: Path) -> None:
    config = container_config()
    config.linux.security_context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
    name = "run.oci.seccomp_bpf_data"
    assert name not in plan(tmp_path, config=config).spec.annotations
    made = plan(tmp_path, config=config, handler=HandlerFacts(seccomp_program=True))
    assert len(made.spec.annotations[name]) > 1000
    assert made.spec.linux.seccomp is not oci.NONE


# Inside real containers


@pytest.fixture(scope="module")
def _cgroups() -> Iterator[None]:
    with crun_cgroups():
        yield
        remove_cgroups(detect().roots())


@pytest.fixture
def place(_cgroups: None, request: pytest.FixtureRequest) -> Iterator[Path]:
    path = SHM / f"specgen-{abs(hash(request.node.name)) % 10**8}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def confined(**fields: Any) -> pb.ContainerConfig:
    config = container_config(**fields)
    config.linux.security_context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
    config.linux.security_context.no_new_privs = True
    return config


def status(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@pytest.mark.root
@pytest.mark.parametrize("program", [False, True])
def test_identity_inside(place: Path, runtime: str, program: bool) -> None:
    config = confined(working_dir="/srv/app", envs=[pb.KeyValue(key="GREETING", value=b"hello world")])
    context = config.linux.security_context
    context.run_as_user.value = 1000
    context.supplemental_groups.append(4242)
    config.linux.resources.oom_score_adj = -998
    script = 'grep -E "^(Cap|NoNew|Seccomp:|Groups|Uid|Gid)" /proc/self/status; env; pwd; cat /proc/self/oom_score_adj'
    handler = HandlerFacts(seccomp_program=program and runtime == "crun")
    done = shell(place, script, runtime, config=config, handler=handler)
    assert done.returncode == 0, done.stderr
    facts = status(done.stdout)
    assert facts["Uid"].split() == ["1000"] * 4
    assert facts["Gid"].split() == ["1001"] * 4
    assert facts["Groups"].split() == ["29", "44", "1001", "4242"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(facts[name], 16) == 0
    assert facts["CapBnd"] == "00000000000005fb"
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"
    lines = done.stdout.splitlines()
    assert {"GREETING=hello world", "FROM=image", "HOME=/srv/web", "HOSTNAME=web", "PATH=/bin"} <= set(lines)
    assert lines[-2] == "/srv/app"
    assert int(lines[-1]) == (-998 if host().may_raise_limits else max(-998, host().oom_score_adj))


@pytest.mark.root
def test_file_systems_inside(place: Path, runtime: str) -> None:
    volume = place / "volume"
    volume.mkdir()
    (volume / "file").write_text("from the host\n")
    (place / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    config = confined(
        mounts=[
            pb.Mount(container_path="/data/deep/er", host_path=str(place / "made")),
            pb.Mount(container_path="/data", host_path=str(volume), readonly=True),
            pb.Mount(container_path="/data/deep", host_path=str(place / "also-made")),
        ]
    )
    (volume / "deep").mkdir()
    (place / "also-made/er").mkdir(parents=True)
    script = """
        cat /data/file /etc/resolv.conf; touch /data/x; touch /data/deep/er/ok && echo deep
        wc -c < /proc/keys; cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l
        echo x > /proc/sys/kernel/domainname; touch /sys/x; mount -t tmpfs x /tmp
            ls -l /etc/mtab; mknod /tmp/null c 1 3
    """
    sandbox = SandboxFacts(id="a", name="p", hostname="web", resolv_conf=str(place / "resolv.conf"))
    done = shell(place, script, runtime, config=config, sandbox=sandbox)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["from the host", "nameserver 192.0.2.1", "deep"]
    assert [line.strip() for line in lines[3:6]] == ["0", "0", "0"]
    assert lines[6].endswith("/etc/mtab -> /proc/mounts")
    for refusal in ("/data/x: Read-only file system", "domainname: Read-only", "/sys/x", "mount", "mknod"):
        assert refusal in done.stderr
    assert (place / "made/ok").exists()


@pytest.mark.root
def test_limits_inside(place: Path, runtime: str) -> None:
    config = confined()
    resources = config.linux.resources
    resources.memory_limit_in_bytes = 64 << 20
    resources.cpu_shares, resources.cpu_quota, resources.cpu_period = 100, 50_000, 100_000
    resources.cpuset_cpus = "0"
    settings = Runtime(cgroup_manager="cgroupfs", default_ulimits=("nofile=100:200",), pids_limit=50)
    script = """
        grep "Max open files" /proc/self/limits; grep Cpus_allowed_list /proc/self/status
        for f in memory/memory.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us pids/pids.max memory.max; do
            test -e /sys/fs/cgroup/$f && cat /sys/fs/cgroup/$f
        done
    """
    done = shell(place, script, runtime, config=config, runtime_=settings)
    lines = done.stdout.splitlines()
    assert lines[0].split()[3:5] == ["100", "200"], done.stderr
    assert lines[1].split() == ["Cpus_allowed_list:", "0"]
    assert str(64 << 20) in lines
    if host().cgroup_version == 1:
        assert lines[2:] == [str(64 << 20), "100", "50000", "50"]


@pytest.mark.root
def test_namespaces_of_the_pod_inside(place: Path, runtime: str) -> None:
    (place / "pins").mkdir()
    pins = {kind: str(place / "pins" / kind) for kind in ("net", "ipc", "uts")}
    namespaces.pin(pins, hostname="pod-host")
    try:
        sandbox = SandboxFacts(id="a", name="p", hostname="pod-host", namespaces=pins)
        done = shell(place, "hostname; ls /sys/class/net; readlink /proc/self/ns/net", runtime, sandbox=sandbox)
        name, interface, net = done.stdout.split()
        assert (name, interface) == ("pod-host", "lo")
        assert net == f"net:[{os.stat(pins['net']).st_ino}]"
    finally:
        for path in pins.values():
            namespaces.unpin(path)
        mount.unmount_below(str(place / "pins"))


@pytest.mark.root
def test_unknown_user_has_a_name_inside(place: Path, runtime: str) -> None:
    root = place / "rootfs"
    make_root(root)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    config = confined()
    config.linux.security_context.run_as_user.value = 4242
    config.linux.security_context.run_as_group.value = 4343
    done = shell(place, "id", runtime, config=config)
    assert done.stdout.strip() == "uid=4242(4242) gid=4343(4343) groups=4343(4343)", done.stderr


@pytest.mark.root
def test_privileged_inside(place: Path, runtime: str) -> None:
    script = (
        'mount -t tmpfs x /tmp && echo mounted; grep -E "^(CapEff|Seccomp:)" /proc/self/status; ls /dev/full /dev/kmsg'
    )
    done = shell(place, script, runtime, **privileged_pod())
    facts = status(done.stdout)
    assert done.stdout.startswith("mounted\n"), done.stderr
    assert facts["Seccomp"] == "0"
    assert int(facts["CapEff"], 16).bit_count() == len(host().capabilities)


@pytest.mark.root
def test_read_only_root_inside(place: Path, runtime: str) -> None:
    config = confined()
    config.linux.security_context.readonly_rootfs = True
    done = shell(place, "touch /x; touch /tmp/y", runtime, config=config)
    assert done.stderr.count("Read-only file system") == 2
    settings = Runtime(cgroup_manager="cgroupfs", read_only=True)
    done = shell(place, "touch /x; touch /tmp/y && echo temporary", runtime, runtime_=settings)
    assert done.stdout == "temporary\n"
    assert "/x: Read-only file system" in done.stderr


@pytest.mark.root
def test_seccomp_inside(place: Path, runtime: str) -> None:
    """The filter, and not a missing capability, says no: the container has all of them but SYS_ADMIN."""
    config = confined()
    config.linux.security_context.capabilities.add_capabilities.append("ALL")
    config.linux.security_context.capabilities.drop_capabilities.append("SYS_ADMIN")
    for program in (False, True):
        handler = HandlerFacts(seccomp_program=program and runtime == "crun")
        done = shell(
            place,
            "unshare -U true && echo shared; chroot / true && echo rooted",
            runtime,
            config=config,
            handler=handler,
        )
        assert done.stdout == "rooted\n"
        assert "Operation not permitted" in done.stderr


@pytest.mark.root
def test_working_directory_through_a_link_inside(place: Path, runtime: str) -> None:
    made = build_spec(
        make_input(
            place,
            host=host(),
            image=ImageFacts(command=["/bin/pwd"], env=["PATH=/bin"], working_directory="work"),
            sandbox=SandboxFacts(id="a", name="p", cgroup_parent="/crio-spec-test"),
        )
    )
    assert run(made, runtime, place).stdout == "/work\n"
