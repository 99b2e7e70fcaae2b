"""Figures of control groups version 2 (kernel: Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from collections.abc import Sequence

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


class FiguresV2(Figures):
    """Of the group in `directory`."""

    def __init__(self, directory: str) -> None:
        self._group = Directory(directory)

    def directories(self) -> Sequence[Directory]:
        return (self._group,)

    def _pids(self) -> Directory:
        return self._group

    def use(self) -> Use:
        group = self._group
        times = group.read("cpu.stat")
        if not times:
            return Use()
        cpu = number_after(b"\n" + times, b"\nusage_usec ") * 1000
        cpu_pressure, io_pressure = group.pressure("cpu.pressure"), group.pressure("io.pressure")
        usage = group.number("memory.current")
        if usage is None:
            return Use(cpu=cpu, cpu_pressure=cpu_pressure, io_pressure=io_pressure)
        stat = b"\n" + group.read("memory.stat")
        limit = self.memory_limit()
        return Use(
            cpu=cpu,
            memory=usage,
            working_set=max(usage - number_after(stat, b"\ninactive_file "), 0),
            rss=number_after(stat, b"\nanon "),
            faults=number_after(stat, b"\npgfault "),
            major_faults=number_after(stat, b"\npgmajfault "),
            limit=limit,
            swap=group.number("memory.swap.current"),
            swap_limit=self._swap_limit(limit),
            cpu_pressure=cpu_pressure,
            memory_pressure=group.pressure("memory.pressure"),
            io_pressure=io_pressure,
        )

    def _swap_limit(self, limit: int | None) -> int | None:
        """Of memory and swap together, as version 1 has it."""
        if limit is None:
            return None
        swap_max = self._group.number("memory.swap.max")
        return limit + swap_max if swap_max is not None else None

    def cpu(self) -> CpuStats | None:
        stat = self._group.pairs("cpu.stat")
        if stat is None:
            return None
        return CpuStats(
            usage=stat.get("usage_usec", 0) * 1000,
            user=stat.get("user_usec", 0) * 1000,
            system=stat.get("system_usec", 0) * 1000,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled=stat.get("throttled_usec", 0) * 1000,
            pressure=self._group.pressure("cpu.pressure"),
        )

    def memory(self) -> MemoryStats | None:
        group = self._group
        stat = group.pairs("memory.stat")
        usage = group.number("memory.current")
        if stat is None or usage is None:
            return None
        limit = self.memory_limit()
        events = group.pairs("memory.events") or {}
        return MemoryStats(
            usage=usage,
            working_set=max(usage - stat.get("inactive_file", 0), 0),
            rss=stat.get("anon", 0),
            cache=stat.get("file", 0),
            mapped_file=stat.get("file_mapped", 0),
            kernel=stat.get("kernel", stat.get("slab", 0) + stat.get("kernel_stack", 0)),
            faults=stat.get("pgfault", 0),
            major_faults=stat.get("pgmajfault", 0),
            limit=limit,
            max_usage=group.number("memory.peak") or 0,
            failures=events.get("max", 0),
            swap=group.number("memory.swap.current"),
            swap_limit=self._swap_limit(limit),
            pressure=group.pressure("memory.pressure"),
        )

    def memory_limit(self) -> int | None:
        return self._group.number("memory.max")

    def io(self) -> list[IoDevice]:
        devices = []
        for line in self._group.read("io.stat").decode("ascii", "replace").splitlines():
            number, values = None, {}
            for field in line.split():
                key, equals, value = field.partition("=")
                if not equals:
                    # Several may stand in one line; those before the last have no figures.
                    number = device_number(key)
                elif value.isdecimal():
                    values[key] = int(value)
            if number is None or not values:
                continue
            devices.append(
                IoDevice(
                    *number,
                    read_bytes=values.get("rbytes", 0),
                    write_bytes=values.get("wbytes", 0),
                    reads=values.get("rios", 0),
                    writes=values.get("wios", 0),
                )
            )
        return devices

    def io_pressure(self) -> Pressure | None:
        return self._group.pressure("io.pressure")

    def hugetlb(self) -> dict[str, tuple[int, int]]:
        # Version 2 keeps no highest usage.
        return {
            name.split(".")[1]: (self._group.number(name) or 0, 0)
            for name in self._group.names()
            if name.startswith("hugetlb.") and name.endswith(".current") and ".rsvd." not in name
        }
