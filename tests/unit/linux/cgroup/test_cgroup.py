"""Control groups of this machine, whatever version it has, and both versions from written-down files."""

from __future__ import annotations

import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition
from crio.linux.cgroup import CgroupFs, detect
from crio.linux.cgroup.base import Pressure, Use
from crio.linux.cgroup.v1 import CgroupV1
from crio.linux.cgroup.v2 import CgroupV2


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
        memory, cpu = real.memory(inner), real.cpu(inner)
        assert memory is not None
        assert memory.limit is None
        assert cpu is not None
        assert cpu.usage >= 0
        use = real.use(inner)
        assert use.cpu is not None
        assert use.cpu >= cpu.usage
        assert use.memory is not None
        assert use.memory >= use.working_set
        assert use.limit is None
        pids = real.pids(inner)
        assert pids is not None
        assert pids.current == 1
        assert not real.frozen(inner)
        with pytest.raises(OSError, match="busy"):
            real.remove(group, timeout=0.02)
        real.kill(group, timeout=0.0)
        assert child.wait(10) == -signal.SIGKILL
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
    assert real.cpu(path) is None
    assert real.memory(path) is None
    assert real.pids(path) is None
    assert real.use(path) == Use()
    assert real.io(path) == []
    assert real.hugetlb(path) == {}
    assert real.processes(path) == []
    assert list(real.children(path)) == []
    real.remove(path)


def same_figures(fs: CgroupFs, path: str) -> bool:
    """Whether the quick way tells what the slow one does."""
    use, cpu, memory = fs.use(path), fs.cpu(path), fs.memory(path)
    assert cpu is not None
    assert memory is not None
    figures = ("working_set", "rss", "faults", "major_faults", "limit", "swap", "swap_limit")
    return (
        (use.cpu, use.memory) == (cpu.usage, memory.usage)
        and (use.cpu_pressure, use.memory_pressure) == (cpu.pressure, memory.pressure)
        and use.io_pressure == fs.io_pressure(path)
        and all(getattr(use, name) == getattr(memory, name) for name in figures)
    )


def write_files(root: Path, files: dict[str, str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).write_text(text)


def test_version_2_figures(tmp_path: Path) -> None:
    write_files(
        tmp_path / "g",
        {
            "cpu.stat": "usage_usec 1000\nuser_usec 600\nsystem_usec 400\n"
            "nr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
            "cpu.pressure": "some avg10=1.50 avg60=0.10 avg300=0.01 total=123\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
            "memory.current": "5000\n",
            "memory.max": "max\n",
            "memory.swap.max": "0\n",
            "memory.swap.current": "0\n",
            "memory.peak": "6000\n",
            "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
            "memory.stat": "anon 100\nfile 200\nkernel 30\nfile_mapped 20\n"
            "inactive_file 150\npgfault 11\npgmajfault 2\n",
            "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
            "pids.current": "4\n",
            "pids.max": "10\n",
            "hugetlb.2MB.current": "2097152\n",
            "cgroup.freeze": "1\n",
        },
    )
    fs = CgroupV2(str(tmp_path))
    cpu, memory = fs.cpu("/g"), fs.memory("/g")
    assert cpu is not None
    assert (cpu.usage, cpu.user, cpu.throttled_periods, cpu.throttled) == (1_000_000, 600_000, 2, 7000)
    assert cpu.pressure == Pressure(1.5, 0.1, 0.01, 123, 0.0, 0.0, 0.0, 9)
    assert memory is not None
    assert (memory.usage, memory.working_set, memory.limit, memory.failures) == (5000, 4850, None, 3)
    assert memory.swap_limit is None
    assert same_figures(fs, "/g")
    (device,) = fs.io("/g")
    assert (device.read_bytes, device.write_bytes, device.reads, device.writes) == (1, 2, 3, 4)
    assert fs.hugetlb("/g") == {"2MB": (2097152, 0)}
    assert fs.frozen("/g")
    fs.thaw("/g")
    assert not fs.frozen("/g")


def test_version_1_figures(tmp_path: Path) -> None:
    write_files(
        tmp_path / "memory/g",
        {
            "memory.usage_in_bytes": "5000\n",
            "memory.limit_in_bytes": "9223372036854771712\n",
            "memory.memsw.limit_in_bytes": "8000\n",
            "memory.failcnt": "2\n",
            "memory.stat": "cache 1\ntotal_cache 200\ntotal_rss 100\ntotal_inactive_file 6000\ntotal_pgfault 5\n",
        },
    )
    write_files(tmp_path / "cpuacct/g", {"cpuacct.usage": "777\n", "cpuacct.stat": "user 3\nsystem 1\n"})
    write_files(tmp_path / "cpu/g", {"cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 7\n"})
    write_files(
        tmp_path / "blkio/g",
        {
            "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
            "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
        },
    )
    fs = CgroupV1({name: str(tmp_path / name) for name in ("memory", "cpuacct", "cpu", "blkio")})
    memory, cpu = fs.memory("/g"), fs.cpu("/g")
    assert memory is not None
    assert memory.limit is None
    assert memory.swap_limit == 8000
    assert memory.working_set == 0
    assert (memory.rss, memory.cache, memory.failures) == (100, 200, 2)
    assert cpu is not None
    assert (cpu.usage, cpu.user, cpu.throttled) == (777, 30_000_000, 7)
    assert same_figures(fs, "/g")
    (device,) = fs.io("/g")
    assert (device.read_bytes, device.writes) == (10, 2)


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
