"""Control groups version 1: one hierarchy per controller (kernel: Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from crio.linux.cgroup.base import (
    CgroupFs,
    CpuStats,
    IoDevice,
    MemoryStats,
    Pressure,
    Use,
    make,
    number_after,
    read,
    read_int,
    read_pairs,
    read_small,
    small_int,
    write,
)

_UNLIMITED = 1 << 62
"""The kernel shows "no limit" as the largest page-aligned number, which differs between page sizes."""

_USER_HZ_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class CgroupV1(CgroupFs):
    version = 1

    def __init__(self, mounts: Mapping[str, str], unified: str | None = None) -> None:
        """`mounts` maps a controller's name (and "name=systemd") to its mount point.

        `unified` is where version 2 is mounted beside them: OCI runtimes make groups there as well.
        """
        self._mounts = dict(mounts)
        self._unified = unified
        self._roots = tuple(dict.fromkeys(mounts.values()))

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset(name for name in self._mounts if not name.startswith("name="))

    def roots(self) -> Sequence[str]:
        return self._roots

    def all_roots(self) -> Sequence[str]:
        return self._roots if self._unified is None else (*self._roots, self._unified)

    def process_root(self) -> str:
        return self._mounts.get("pids") or self._mounts.get("memory") or self._roots[0]

    def _process_controller(self) -> str:
        return next(name for name, root in self._mounts.items() if root == self.process_root())

    def create(self, path: str, *, hand_down: bool = True) -> None:
        for controller, root in self._mounts.items():
            make(root + path)
            if controller == "cpuset":
                self._inherit_cpuset(path)

    def _inherit_cpuset(self, path: str) -> None:
        """A new cpuset is empty, and no process may enter an empty one: take the parent's, from the top down."""
        root = self._mounts["cpuset"]
        current = root
        for name in filter(None, path.split("/")):
            parent, current = current, f"{current}/{name}"
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not (read(f"{current}/{file}") or "").strip():
                    write(f"{current}/{file}", (read(f"{parent}/{file}") or "").strip())

    def cpu(self, path: str) -> CpuStats | None:
        usage = read_int(f"{self._mounts.get('cpuacct')}{path}/cpuacct.usage")
        if usage is None:
            return None
        times = read_pairs(f"{self._mounts['cpuacct']}{path}/cpuacct.stat") or {}
        stat = read_pairs(f"{self._mounts.get('cpu')}{path}/cpu.stat") or {}
        return CpuStats(
            usage=usage,
            user=times.get("user", 0) * _USER_HZ_NS,
            system=times.get("system", 0) * _USER_HZ_NS,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled=stat.get("throttled_time", 0),
            pressure=None,
        )

    def memory(self, path: str) -> MemoryStats | None:
        group = f"{self._mounts.get('memory')}{path}"
        stat = read_pairs(f"{group}/memory.stat")
        usage = read_int(f"{group}/memory.usage_in_bytes")
        if stat is None or usage is None:
            return None
        swap_limit = read_int(f"{group}/memory.memsw.limit_in_bytes")
        return MemoryStats(
            usage=usage,
            working_set=max(usage - stat.get("total_inactive_file", 0), 0),
            rss=stat.get("total_rss", 0),
            cache=stat.get("total_cache", 0),
            mapped_file=stat.get("total_mapped_file", 0),
            kernel=read_int(f"{group}/memory.kmem.usage_in_bytes") or 0,
            faults=stat.get("total_pgfault", 0),
            major_faults=stat.get("total_pgmajfault", 0),
            limit=_limit(read_int(f"{group}/memory.limit_in_bytes")),
            max_usage=read_int(f"{group}/memory.max_usage_in_bytes") or 0,
            failures=read_int(f"{group}/memory.failcnt") or 0,
            swap=stat.get("total_swap"),
            swap_limit=_limit(swap_limit),
            pressure=None,
        )

    def memory_limit(self, path: str) -> int | None:
        return _limit(read_int(f"{self._mounts.get('memory')}{path}/memory.limit_in_bytes"))

    def use(self, path: str) -> Use:
        group = f"{self._mounts.get('memory')}{path}"
        cpu = small_int(f"{self._mounts.get('cpuacct')}{path}/cpuacct.usage")
        stat = read_small(f"{group}/memory.stat")
        usage = small_int(f"{group}/memory.usage_in_bytes")
        if not stat or usage is None:
            return Use(cpu=cpu)
        return Use(
            cpu=cpu,
            memory=usage,
            working_set=max(usage - number_after(stat, b"\ntotal_inactive_file "), 0),
            rss=number_after(stat, b"\ntotal_rss "),
            faults=number_after(stat, b"\ntotal_pgfault "),
            major_faults=number_after(stat, b"\ntotal_pgmajfault "),
            limit=_limit(small_int(f"{group}/memory.limit_in_bytes")),
            swap=number_after(stat, b"\ntotal_swap ") if b"\ntotal_swap " in stat else None,
            swap_limit=_limit(small_int(f"{group}/memory.memsw.limit_in_bytes")),
        )

    def io(self, path: str) -> list[IoDevice]:
        group = f"{self._mounts.get('blkio')}{path}"
        totals: dict[tuple[int, int], dict[str, int]] = {}
        for kind, file in (("bytes", "io_service_bytes"), ("ops", "io_serviced")):
            for line in (read(f"{group}/blkio.throttle.{file}_recursive") or "").splitlines():
                fields = line.split()
                if len(fields) == 3 and fields[1] in ("Read", "Write"):
                    major, _, minor = fields[0].partition(":")
                    device = totals.setdefault((int(major), int(minor)), {})
                    device[f"{fields[1]} {kind}"] = int(fields[2])
        return [
            IoDevice(
                *number,
                read_bytes=device.get("Read bytes", 0),
                write_bytes=device.get("Write bytes", 0),
                reads=device.get("Read ops", 0),
                writes=device.get("Write ops", 0),
            )
            for number, device in totals.items()
        ]

    def io_pressure(self, path: str) -> Pressure | None:
        return None

    def hugetlb(self, path: str) -> dict[str, tuple[int, int]]:
        root = self._mounts.get("hugetlb")
        if root is None or not os.path.isdir(root + path):
            return {}
        sizes = [name.split(".")[1] for name in os.listdir(root + path) if name.endswith(".usage_in_bytes")]
        return {
            size: (
                read_int(f"{root}{path}/hugetlb.{size}.usage_in_bytes") or 0,
                read_int(f"{root}{path}/hugetlb.{size}.max_usage_in_bytes") or 0,
            )
            for size in sizes
            if size != "rsvd"
        }

    def frozen(self, path: str) -> bool:
        return (read(f"{self._mounts.get('freezer')}{path}/freezer.state") or "").strip() in ("FROZEN", "FREEZING")

    def thaw(self, path: str) -> None:
        write(f"{self._mounts['freezer']}{path}/freezer.state", "THAWED")

    def lift_cpu_quota(self, path: str) -> None:
        write(f"{self._mounts['cpu']}{path}/cpu.cfs_quota_us", "-1")

    def _controller_root(self, controller: str) -> str | None:
        return self._mounts.get(controller)


def _limit(value: int | None) -> int | None:
    return None if value is None or value >= _UNLIMITED else value
