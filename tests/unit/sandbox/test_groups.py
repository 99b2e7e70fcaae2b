"""Groups of pods as cgroup_manager wants them made; with systemd also in the guest's tests."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest

from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.linux.cgroup import CgroupFs, detect
from crio.sandbox.groups import PodGroups, pod_groups
from crio.sandbox.systemd import Systemd, systemd_runs
from crio.sandbox.systemd_groups import SystemdGroups

pytestmark = pytest.mark.root


@pytest.fixture
def parent() -> Iterator[str]:
    name = f"/crtest-{uuid.uuid4().hex[:8]}"
    yield name
    detect().remove(name)


@pytest.fixture
def groups() -> PodGroups:
    return pod_groups("cgroupfs", detect())


def test_paths() -> None:
    systemd, cgroupfs = pod_groups("systemd", detect()), pod_groups("cgroupfs", detect())
    assert systemd.path("a-b.slice", "crio-1") == "/a.slice/a-b.slice/crio-1.scope"
    assert systemd.monitor_path("a.slice", "1", "pod") == "/a.slice/crio-conmon-1.scope"
    assert systemd.monitor_path("a.slice", "1", "b-c.slice") == "/b.slice/b-c.slice/crio-conmon-1.scope"
    assert cgroupfs.monitor_path("/a", "1", "") == cgroupfs.monitor_path("/a", "1", "pod") == "/a/crio-conmon-1"


def test_a_pod_of_the_manager_before_is_found_where_that_one_put_it() -> None:
    systemd, cgroupfs = pod_groups("systemd", detect()), pod_groups("cgroupfs", detect())
    assert systemd.parent_path("/kubepods/pod1") == "/kubepods/pod1"
    assert systemd.path("/kubepods/pod1", "crio-1") == "/kubepods/pod1/crio-1"
    assert cgroupfs.path("a-b.slice", "crio-1") == "/a.slice/a-b.slice/crio-1.scope"


async def test_a_process_in_a_group_of_its_own(groups: PodGroups, parent: str) -> None:
    kernel = detect()
    await groups.make(f"{parent}/crio-1")
    with subprocess.Popen(["sleep", "1000"]) as process:
        await groups.place(f"{parent}/crio-conmon-1", process.pid, "a test")
        assert kernel.is_in(f"{parent}/crio-conmon-1", process.pid)
        assert kernel.is_in(parent, process.pid)
        assert not kernel.is_in(f"{parent}/crio-1", process.pid)
        await groups.place(f"{parent}/crio-conmon-1", process.pid, "a test")
        process.kill()
    assert kernel.group_of(process.pid) is None
    await groups.place(f"{parent}/crio-conmon-1", process.pid, "a process that has ended")
    await groups.remove(f"{parent}/crio-1")
    await groups.remove(f"{parent}/crio-1")
    assert not kernel.exists(f"{parent}/crio-1")


async def test_children_that_are_where_it_is_go_with_it(groups: PodGroups, parent: str) -> None:
    kernel = detect()
    for name in ("container", "before"):
        kernel.create(f"{parent}/{name}")
    script = "sleep 1000 & one=$!; sleep 1000 & echo $one $!; read end; kill $one $!"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        container, server = map(int, process.stdout.readline().split())
        for pid, name in ((container, "container"), (server, "before"), (process.pid, "before")):
            kernel.add(f"{parent}/{name}", pid)
        await groups.place(f"{parent}/crio-conmon-1", process.pid, "a test")
        assert kernel.group_of(process.pid) == kernel.group_of(server) == f"{parent}/crio-conmon-1"
        assert kernel.group_of(container) == f"{parent}/container"
        process.communicate("\n")


def _limit(kernel: CgroupFs, path: str, number: int) -> None:
    name = "memory.max" if kernel.version == 2 else "memory.limit_in_bytes"
    root = next(root for root in kernel.roots() if kernel.version == 2 or "memory" in root)
    with open(f"{root}{path}/{name}", "w") as file:
        file.write(str(number))


async def test_a_parent_with_too_little_memory(groups: PodGroups, parent: str) -> None:
    kernel = detect()
    groups.check_memory(parent, 1 << 20)
    await groups.make(f"{parent}/crio-1")
    groups.check_memory(parent, 1 << 20)
    _limit(kernel, parent, 4 << 20)
    groups.check_memory(parent, 4 << 20)
    with pytest.raises(InvalidArgument, match="memory limit 4194304 is too low; it should be at least 12582912 bytes"):
        groups.check_memory(parent, 12 << 20)


@pytest.mark.skipif(systemd_runs(), reason="systemd runs this machine")
async def test_systemd_is_asked_for_but_not_there() -> None:
    groups = SystemdGroups(detect(), Systemd("/nonexistent/private", "/nonexistent/bus"))
    with pytest.raises(FailedPrecondition, match='set cgroup_manager = "cgroupfs"'):
        await groups.make("/crtest.slice/crio-1.scope")
    groups.close()
