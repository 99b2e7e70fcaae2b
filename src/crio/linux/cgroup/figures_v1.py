"""Figures of control groups version 1 (kernel: Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from crio.linux.cgroup.figures import (
    CpuStats,
    Directory,
    Figures,
    IoDevice,
    MemoryStats,
    Pressure,
    Use,
    device_number,
    number_after,
)

_UNLIMITED = 1 << 62
"""The kernel shows "no limit" as the largest page-aligned number, which differs between page sizes."""

_USER_HZ_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

_LIMITS_AGE = 30.0
"""Seconds after which a group's own limits are read anew, although nothing tells that they have changed."""


class FiguresV1(Figures):
    """Of the group at `path` in the hierarchies that `mounts` names by controller."""

    def __init__(self, mounts: Mapping[str, str], path: str) -> None:
        self._mounts = mounts
        self._path = path
        self._opened: dict[str, Directory] = {}
        self._limits: tuple[int | None, int | None] = (None, None)
        self._effective: bytes | None = None
        """The limits of the group and all above it, as memory.stat told them when `_limits` was read."""
        self._limits_until = 0.0

    def directories(self) -> Sequence[Directory]:
        return tuple(self._opened.values())

    def _of(self, controller: str) -> Directory:
        directory = self._opened.get(controller)
        if directory is None:
            root = self._mounts.get(controller)
            directory = self._opened[controller] = Directory(root + self._path if root is not None else None)
        return directory

    def _pids(self) -> Directory:
        return self._of("pids")

    def use(self) -> Use:
        group = self._of("memory")
        cpu = self._of("cpuacct").number("cpuacct.usage")
        stat = group.read("memory.stat")
        usage = group.number("memory.usage_in_bytes")
        if not stat or usage is None:
            return Use(cpu=cpu)
        limit, swap_limit = self._own_limits(group, stat)
        return Use(
            cpu=cpu,
            memory=usage,
            working_set=max(usage - number_after(stat, b"\ntotal_inactive_file "), 0),
            rss=number_after(stat, b"\ntotal_rss "),
            faults=number_after(stat, b"\ntotal_pgfault "),
            major_faults=number_after(stat, b"\ntotal_pgmajfault "),
            limit=limit,
            swap=number_after(stat, b"\ntotal_swap ") if b"\ntotal_swap " in stat else None,
            swap_limit=swap_limit,
        )

    def _own_limits(self, group: Directory, stat: bytes) -> tuple[int | None, int | None]:
        """Limits of memory, and of memory and swap. Not read where what is in effect says that they are as before."""
        start = stat.find(b"\nhierarchical_mem")
        effective = stat[start : stat.find(b"\ntotal_", start)] if start >= 0 else b""
        now = time.monotonic()
        if effective != self._effective or now > self._limits_until or not effective:
            self._effective, self._limits_until = effective, now + _LIMITS_AGE
            if effective and all(int(line.split()[1]) >= _UNLIMITED for line in effective.splitlines()[1:]):
                self._limits = (None, None)
            else:
                swap = _limit(group.number("memory.memsw.limit_in_bytes"))
                self._limits = (self.memory_limit(), swap)
        return self._limits

    def cpu(self) -> CpuStats | None:
        usage = self._of("cpuacct").number("cpuacct.usage")
        if usage is None:
            return None
        times = self._of("cpuacct").pairs("cpuacct.stat") or {}
        stat = self._of("cpu").pairs("cpu.stat") or {}
        return CpuStats(
            usage=usage,
            user=times.get("user", 0) * _USER_HZ_NS,
            system=times.get("system", 0) * _USER_HZ_NS,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled=stat.get("throttled_time", 0),
            pressure=None,
        )

    def memory(self) -> MemoryStats | None:
        group = self._of("memory")
        stat = group.pairs("memory.stat")
        usage = group.number("memory.usage_in_bytes")
        if stat is None or usage is None:
            return None
        return MemoryStats(
            usage=usage,
            working_set=max(usage - stat.get("total_inactive_file", 0), 0),
            rss=stat.get("total_rss", 0),
            cache=stat.get("total_cache", 0),
            mapped_file=stat.get("total_mapped_file", 0),
            kernel=group.number("memory.kmem.usage_in_bytes") or 0,
            faults=stat.get("total_pgfault", 0),
            major_faults=stat.get("total_pgmajfault", 0),
            limit=self.memory_limit(),
            max_usage=group.number("memory.max_usage_in_bytes") or 0,
            failures=group.number("memory.failcnt") or 0,
            swap=stat.get("total_swap"),
            swap_limit=_limit(group.number("memory.memsw.limit_in_bytes")),
            pressure=None,
        )

    def memory_limit(self) -> int | None:
        return _limit(self._of("memory").number("memory.limit_in_bytes"))

    def io(self) -> list[IoDevice]:
        group = self._of("blkio")
        totals: dict[tuple[int, int], dict[str, int]] = {}
        for kind, file in (("bytes", "io_service_bytes"), ("ops", "io_serviced")):
            for line in group.read(f"blkio.throttle.{file}_recursive").decode("ascii", "replace").splitlines():
                fields = line.split()
                number = device_number(fields[0]) if len(fields) == 3 and fields[1] in ("Read", "Write") else None
                if number is not None:
                    device = totals.setdefault(number, {})
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

    def io_pressure(self) -> Pressure | None:
        return None

    def hugetlb(self) -> dict[str, tuple[int, int]]:
        group = self._of("hugetlb")
        sizes = [name.split(".")[1] for name in group.names() if name.endswith(".usage_in_bytes")]
        return {
            size: (
                group.number(f"hugetlb.{size}.usage_in_bytes") or 0,
                group.number(f"hugetlb.{size}.max_usage_in_bytes") or 0,
            )
            for size in sizes
            if size != "rsvd"
        }


def _limit(value: int | None) -> int | None:
    return None if value is None or value >= _UNLIMITED else value
