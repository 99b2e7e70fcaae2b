"""Control groups version 2: one hierarchy (kernel: Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from crio.linux.cgroup.base import (
    CgroupFs,
    CpuStats,
    IoDevice,
    MemoryStats,
    Pressure,
    Use,
    number_after,
    read,
    read_int,
    read_pairs,
    read_pressure,
    read_small,
    small_int,
    write,
)


class CgroupV2(CgroupFs):
    version = 2

    def __init__(self, root: str) -> None:
        self._root = root

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset((read(f"{self._root}/cgroup.controllers") or "").split())

    def roots(self) -> Sequence[str]:
        return (self._root,)

    def process_root(self) -> str:
        return self._root

    def _process_controller(self) -> str:
        return ""

    def create(self, path: str, *, hand_down: bool = True) -> None:
        """As the base, and hands every controller of the root down to the group's parents if they are ours."""
        wanted = " ".join(f"+{name}" for name in sorted(self.controllers)) if hand_down else ""
        current = self._root
        for name in filter(None, path.split("/")):
            if wanted:
                self._delegate(current, wanted)
            current = f"{current}/{name}"
            os.makedirs(current, mode=0o755, exist_ok=True)

    def _delegate(self, group: str, wanted: str) -> None:
        try:
            write(f"{group}/cgroup.subtree_control", wanted)
        except OSError:
            # One controller that can't be handed down (a group with processes, a real-time task) fails the whole line.
            for controller in wanted.split():
                try:
                    write(f"{group}/cgroup.subtree_control", controller)
                except OSError:
                    pass

    def cpu(self, path: str) -> CpuStats | None:
        stat = read_pairs(f"{self._root}{path}/cpu.stat")
        if stat is None:
            return None
        return CpuStats(
            usage=stat.get("usage_usec", 0) * 1000,
            user=stat.get("user_usec", 0) * 1000,
            system=stat.get("system_usec", 0) * 1000,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled=stat.get("throttled_usec", 0) * 1000,
            pressure=read_pressure(f"{self._root}{path}/cpu.pressure"),
        )

    def memory(self, path: str) -> MemoryStats | None:
        group = self._root + path
        stat = read_pairs(f"{group}/memory.stat")
        usage = read_int(f"{group}/memory.current")
        if stat is None or usage is None:
            return None
        limit = read_int(f"{group}/memory.max")
        swap_max = read_int(f"{group}/memory.swap.max")
        events = read_pairs(f"{group}/memory.events") or {}
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
            max_usage=read_int(f"{group}/memory.peak") or 0,
            failures=events.get("max", 0),
            swap=read_int(f"{group}/memory.swap.current"),
            swap_limit=limit + swap_max if limit is not None and swap_max is not None else None,
            pressure=read_pressure(f"{group}/memory.pressure"),
        )

    def memory_limit(self, path: str) -> int | None:
        return read_int(f"{self._root}{path}/memory.max")

    def use(self, path: str) -> Use:
        group = self._root + path
        times = read_small(f"{group}/cpu.stat")
        if not times:
            return Use()
        cpu = number_after(b"\n" + times, b"\nusage_usec ") * 1000
        cpu_pressure = read_pressure(f"{group}/cpu.pressure")
        io_pressure = read_pressure(f"{group}/io.pressure")
        stat = b"\n" + read_small(f"{group}/memory.stat")
        usage = small_int(f"{group}/memory.current")
        if usage is None:
            return Use(cpu=cpu, cpu_pressure=cpu_pressure, io_pressure=io_pressure)
        limit = small_int(f"{group}/memory.max")
        swap_max = small_int(f"{group}/memory.swap.max")
        return Use(
            cpu=cpu,
            memory=usage,
            working_set=max(usage - number_after(stat, b"\ninactive_file "), 0),
            rss=number_after(stat, b"\nanon "),
            faults=number_after(stat, b"\npgfault "),
            major_faults=number_after(stat, b"\npgmajfault "),
            limit=limit,
            swap=small_int(f"{group}/memory.swap.current"),
            swap_limit=limit + swap_max if limit is not None and swap_max is not None else None,
            cpu_pressure=cpu_pressure,
            memory_pressure=read_pressure(f"{group}/memory.pressure"),
            io_pressure=io_pressure,
        )

    def io(self, path: str) -> list[IoDevice]:
        devices = []
        for line in (read(f"{self._root}{path}/io.stat") or "").splitlines():
            number, *fields = line.split()
            major, _, minor = number.partition(":")
            values = {
                key: int(value) for key, _, value in (field.partition("=") for field in fields) if value.isdecimal()
            }
            devices.append(
                IoDevice(
                    int(major),
                    int(minor),
                    read_bytes=values.get("rbytes", 0),
                    write_bytes=values.get("wbytes", 0),
                    reads=values.get("rios", 0),
                    writes=values.get("wios", 0),
                )
            )
        return devices

    def io_pressure(self, path: str) -> Pressure | None:
        return read_pressure(f"{self._root}{path}/io.pressure")

    def hugetlb(self, path: str) -> dict[str, tuple[int, int]]:
        try:
            names = os.listdir(self._root + path)
        except FileNotFoundError:
            return {}
        # Version 2 keeps no highest usage.
        return {
            name.split(".")[1]: (read_int(f"{self._root}{path}/{name}") or 0, 0)
            for name in names
            if name.startswith("hugetlb.") and name.endswith(".current") and ".rsvd." not in name
        }

    def frozen(self, path: str) -> bool:
        return any(self._freezes(group) for group in self._with_children(path))

    def thaw(self, path: str) -> None:
        for group in self._with_children(path):
            if self._freezes(group):
                write(f"{self._root}{group}/cgroup.freeze", "0")

    def lift_cpu_quota(self, path: str) -> None:
        write(f"{self._root}{path}/cpu.max", "max")

    def _freezes(self, path: str) -> bool:
        return (read(f"{self._root}{path}/cgroup.freeze") or "").strip() == "1"

    def _with_children(self, path: str) -> list[str]:
        """The group and those right below it: crun has the processes, and freezes them, in one of those."""
        return [path, *(f"{path}/{name}" for name in self.children(path))]

    def kill(self, path: str, *, timeout: float = 2.0) -> None:
        try:
            # All at once, so that none can fork in between (Linux 5.14).
            write(f"{self._root}{path}/cgroup.kill", "1")
        except OSError:
            pass
        super().kill(path, timeout=timeout)

    def _controller_root(self, controller: str) -> str | None:
        return self._root
