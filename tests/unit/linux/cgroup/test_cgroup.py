"""Control groups of this machine, whatever version it has."""

from __future__ import annotations

import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition
from crio.linux.cgroup import CgroupFs, detect


@pytest.fixture
def real() -> CgroupFs:
    return detect()


@pytest.fixture
def group(real: CgroupFs) -> Iterator[str]:
    path = f"/crio-unit-{uuid.uuid4().hex}"
    yield path
    real.remove(path)
    assert not any(Path(root + path).exists() for root in real.all_roots())


@pytest.mark.root
def test_what_a_runtime_has_made_elsewhere_goes_as_well(real: CgroupFs, group: str) -> None:
    real.create(f"{group}/crio-1")
    for root in real.all_roots():
        Path(f"{root}{group}/crio-1").mkdir(parents=True, exist_ok=True)
    assert real.find({"crio-1", "crio-2"}) == [f"{group}/crio-1"]
    real.remove_unused(group)
    assert real.exists(group)
    real.remove(f"{group}/crio-1")
    assert real.find({"crio-1"}) == []
    real.remove_unused(group)
    assert not any(Path(root + group).exists() for root in real.all_roots())
    real.remove_unused(group)


@pytest.mark.root
def test_create_add_read_remove(real: CgroupFs, group: str) -> None:
    inner = f"{group}/inner"
    real.create(inner)
    real.create(inner)
    child = subprocess.Popen(["sleep", "60"])
    try:
        real.add(inner, child.pid)
        assert real.processes(group) == [child.pid]
        assert list(real.children(group)) == ["inner"]
        assert not real.frozen(inner)
        with pytest.raises(OSError, match="busy"):
            real.remove(group, timeout=0.02)
        real.kill(group, timeout=0.0)
        assert child.wait(60) == -signal.SIGKILL
        real.kill(group)
        assert real.processes(group) == []
    finally:
        child.kill()
        child.wait()


@pytest.mark.root
def test_a_cpu_quota_is_lifted(real: CgroupFs, group: str) -> None:
    real.create(group)
    quota = Path(
        f"/sys/fs/cgroup{group}/cpu.max" if real.version == 2 else f"/sys/fs/cgroup/cpu{group}/cpu.cfs_quota_us"
    )
    quota.write_text("50000")
    real.lift_cpu_quota(group)
    assert quota.read_text().split()[0] == ("max" if real.version == 2 else "-1")


@pytest.mark.root
def test_what_is_not_there_has_no_figures(real: CgroupFs) -> None:
    path = "/crio-unit-absent"
    assert not real.exists(path)
    assert real.memory(path) is None
    assert real.memory_limit(path) is None
    assert real.processes(path) == []
    assert list(real.children(path)) == []
    real.remove(path)


def mountinfo(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "mountinfo"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


V1_LINE = "30 24 0:25 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct"
NAMED_LINE = "31 24 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd"
V2_LINE = "32 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"


def test_detection(tmp_path: Path) -> None:
    hybrid = detect(mountinfo(tmp_path, V1_LINE, NAMED_LINE, V2_LINE))
    assert hybrid.version == 1
    assert hybrid.controllers == {"cpu", "cpuacct"}
    assert list(hybrid.roots()) == ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/systemd"]
    assert list(hybrid.all_roots()) == [*hybrid.roots(), "/sys/fs/cgroup/unified"]
    # A named hierarchy beside version 2 limits nothing: systemd's "unified" mode keeps one for its own use.
    assert detect(mountinfo(tmp_path, NAMED_LINE, V2_LINE)).version == 2
    with pytest.raises(FailedPrecondition, match="mount cgroup2"):
        detect(mountinfo(tmp_path, "24 1 8:1 / / rw - ext4 /dev/sda rw"))
    # A bind mount of one group only is not the hierarchy.
    with pytest.raises(FailedPrecondition):
        detect(mountinfo(tmp_path, "30 24 0:25 /some/group /mnt rw - cgroup cgroup rw,cpu"))
