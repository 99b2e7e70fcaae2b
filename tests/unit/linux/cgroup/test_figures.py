"""Figures of control groups: of this machine, whatever version it has, and of both versions from written-down files."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.linux.cgroup import CgroupFs, Figures, PidsStats, Pressure, Use, detect
from crio.linux.cgroup.figures import IoDevice
from crio.linux.cgroup.figures_v1 import FiguresV1
from crio.linux.cgroup.figures_v2 import FiguresV2
from crio.linux.cgroup.v1 import CgroupV1
from crio.linux.cgroup.v2 import CgroupV2
from open_files import open_files


@pytest.fixture
def real() -> CgroupFs:
    return detect()


@pytest.fixture
def group(real: CgroupFs) -> Iterator[str]:
    path = f"/crio-unit-{uuid.uuid4().hex}"
    yield path
    real.remove(path)


@pytest.mark.root
def test_figures_of_a_process(real: CgroupFs, group: str) -> None:
    real.create(group)
    with real.figures(group) as figures, subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert figures.process_count() == 0
            real.add(group, child.pid)
            cpu, memory, pids, use = figures.cpu(), figures.memory(), figures.pids(), figures.use()
            assert cpu is not None
            assert cpu.usage >= 0
            assert memory is not None
            assert memory.limit is None
            assert pids is not None
            assert pids.current == figures.process_count() == 1
            assert use.cpu is not None
            assert use.cpu >= cpu.usage
            assert use.memory is not None
            assert use.memory >= use.working_set
            assert use.limit is None
        finally:
            child.kill()


@pytest.mark.root
def test_a_limit_is_told_when_it_changes(real: CgroupFs, group: str) -> None:
    real.create(group)
    name = "memory.max" if real.version == 2 else "memory.limit_in_bytes"
    root = next(root for root in real.roots() if Path(f"{root}{group}/{name}").exists())
    with real.figures(group) as figures:
        assert figures.use().limit is None
        for limit in (64 << 20, 96 << 20, 32 << 20):
            Path(f"{root}{group}/{name}").write_text(str(limit))
            assert figures.use().limit == figures.memory_limit() == real.memory_limit(group) == limit
        Path(f"{root}{group}/{name}").write_text("max" if real.version == 2 else "-1")
        assert figures.use().limit is None


@pytest.mark.root
def test_a_group_may_go_and_come_while_its_directories_are_open(real: CgroupFs, group: str) -> None:
    before = open_files()
    real.create(group)
    with real.figures(group) as figures:
        assert figures.use().cpu is not None
        real.remove(group)
        assert figures.use() == Use()
        assert not real.exists(group)
        real.create(group)
        assert figures.use() == Use()
        with real.figures(group) as again:
            assert again.use().cpu is not None
    assert open_files() == before


@pytest.mark.root
def test_what_is_not_there_has_no_figures(real: CgroupFs) -> None:
    with real.figures("/crio-unit-absent") as figures:
        assert figures.cpu() is None
        assert figures.memory() is None
        assert figures.memory_limit() is None
        assert figures.pids() is None
        assert figures.process_count() == 0
        assert figures.use() == Use()
        assert figures.io() == []
        assert figures.io_pressure() is None
        assert figures.hugetlb() == {}


def same_figures(figures: Figures) -> bool:
    """Whether the quick way tells what the slow one does."""
    use, cpu, memory = figures.use(), figures.cpu(), figures.memory()
    assert cpu is not None
    assert memory is not None
    names = ("working_set", "rss", "faults", "major_faults", "limit", "swap", "swap_limit")
    return (
        (use.cpu, use.memory) == (cpu.usage, memory.usage)
        and (use.cpu_pressure, use.memory_pressure) == (cpu.pressure, memory.pressure)
        and use.io_pressure == figures.io_pressure()
        and all(getattr(use, name) == getattr(memory, name) for name in names)
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
    figures = fs.figures("/g")
    cpu, memory = figures.cpu(), figures.memory()
    assert cpu is not None
    assert (cpu.usage, cpu.user, cpu.throttled_periods, cpu.throttled) == (1_000_000, 600_000, 2, 7000)
    assert cpu.pressure == Pressure(1.5, 0.1, 0.01, 123, 0.0, 0.0, 0.0, 9)
    assert memory is not None
    assert (memory.usage, memory.working_set, memory.limit, memory.failures) == (5000, 4850, None, 3)
    assert memory.swap_limit is None
    assert same_figures(figures)
    (device,) = figures.io()
    assert (device.read_bytes, device.write_bytes, device.reads, device.writes) == (1, 2, 3, 4)
    assert figures.hugetlb() == {"2MB": (2097152, 0)}
    assert figures.pids() == PidsStats(4, 10)
    figures.close()
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
    figures = fs.figures("/g")
    memory, cpu = figures.memory(), figures.cpu()
    assert memory is not None
    assert memory.limit is None
    assert memory.swap_limit == 8000
    assert memory.working_set == 0
    assert (memory.rss, memory.cache, memory.failures) == (100, 200, 2)
    assert cpu is not None
    assert (cpu.usage, cpu.user, cpu.throttled) == (777, 30_000_000, 7)
    assert same_figures(figures)
    (device,) = figures.io()
    assert (device.read_bytes, device.writes) == (10, 2)
    figures.close()


UNLIMITED = 9223372036854771712


def stat_v1(limit: int, swap_limit: int) -> str:
    return (
        f"cache 1\nhierarchical_memory_limit {limit}\nhierarchical_memsw_limit {swap_limit}\n"
        "total_cache 200\ntotal_rss 100\ntotal_inactive_file 10\n"
    )


def test_version_1_reads_limits_when_what_is_in_effect_changes(tmp_path: Path) -> None:
    files = {
        "memory.usage_in_bytes": "5000\n",
        "memory.limit_in_bytes": f"{UNLIMITED}\n",
        "memory.memsw.limit_in_bytes": f"{UNLIMITED}\n",
        "memory.stat": stat_v1(UNLIMITED, UNLIMITED),
    }
    group = tmp_path / "g"
    write_files(group, files)
    with FiguresV1({"memory": str(tmp_path)}, "/g") as figures:
        assert (figures.use().limit, figures.use().swap_limit) == (None, None)
        # The pod has a limit now, and the container none.
        write_files(group, {"memory.stat": stat_v1(7000, UNLIMITED)})
        assert figures.use().limit is None
        write_files(group, {"memory.limit_in_bytes": "6000\n", "memory.memsw.limit_in_bytes": "6500\n"})
        write_files(group, {"memory.stat": stat_v1(6000, 6500)})
        assert (figures.use().limit, figures.use().swap_limit) == (6000, 6500)


def test_version_2_without_controllers(tmp_path: Path) -> None:
    write_files(tmp_path / "g", {"cpu.stat": "usage_usec 7\n"})
    with FiguresV2(str(tmp_path / "g")) as figures:
        assert figures.use() == Use(cpu=7000)


def test_devices_without_a_name_or_figures_are_left_out(tmp_path: Path) -> None:
    """As ZFS, NVMe multipath and loop devices that were detached look."""
    lines = "(unknown) rbytes=0 wbytes=0 rios=6 wios=0\n252:0 \n7:7 7:6 7:5 rbytes=1 wbytes=2 rios=3 wios=4\n"
    write_files(tmp_path / "g", {"io.stat": lines})
    with FiguresV2(str(tmp_path / "g")) as figures:
        assert figures.io() == [IoDevice(7, 5, 1, 2, 3, 4)]
    text = "(unknown) Read 5\n(unknown) Write 6\n8:0 Read 10\n8:0 Write 20\nTotal 41\n"
    write_files(tmp_path / "blkio/g", {"blkio.throttle.io_service_bytes_recursive": text})
    with FiguresV1({"blkio": str(tmp_path / "blkio")}, "/g") as figures_v1:
        assert figures_v1.io() == [IoDevice(8, 0, 10, 20, 0, 0)]


def test_a_long_file_is_read_whole(tmp_path: Path) -> None:
    lines = "".join(f"8:{minor} rbytes=1 wbytes=2 rios=3 wios=4\n" for minor in range(2000))
    write_files(tmp_path / "g", {"io.stat": lines})
    with FiguresV2(str(tmp_path / "g")) as figures:
        assert [device.minor for device in figures.io()] == list(range(2000))
