"""What control groups use, as it was read last."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from crio.linux.cgroup import CgroupFs, Figures, Use
from crio.stats.rates import Rate


class Group:
    """One control group; nothing is read before `read`."""

    __slots__ = ("_figures", "_hold", "_open", "_rate", "at", "now", "processes", "rate", "use")

    def __init__(self, open_figures: Callable[[], Figures], *, hold: bool) -> None:
        """`hold`: whether its directories stay open between two readings."""
        self._open = open_figures
        self._hold = hold
        self._figures: Figures | None = None
        self._rate = Rate()
        self.at = float("-inf")
        """When it was read last, in seconds of the steady clock."""
        self.now = 0
        """The same in Unix nanoseconds."""
        self.use = Use()
        self.rate: int | None = None
        """In billionths of a core; None as long as it was read only once."""
        self.processes = 0

    def read(self, *, processes: bool = False) -> None:
        """Read it anew, and with `processes` also how many it has."""
        self.at, self.now = time.monotonic(), time.time_ns()
        known = self._figures
        figures = known or self._open()
        self.use = figures.use()
        if known is not None and self.use == _NOTHING:
            # It is gone, and perhaps another one is there under its name.
            known.close()
            figures = self._open()
            self.use = figures.use()
        self.rate = None if self.use.cpu is None else self._rate.nano_cores(self.use.cpu, self.now)
        if processes:
            self.processes = figures.process_count()
        if self._hold and self.use != _NOTHING:
            self._figures = figures
        else:
            figures.close()
            self._figures = None

    def close(self) -> None:
        if self._figures is not None:
            self._figures.close()
            self._figures = None


_NOTHING = Use()


class Groups:
    """The groups that were looked at lately, by path."""

    def __init__(self, cgroups: CgroupFs) -> None:
        self._cgroups = cgroups
        self._groups: dict[str, Group] = {}
        # A group has up to three directories, and most of the files are for the daemon's other work.
        self._most_held = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8

    def get(self, path: str) -> Group:
        group = self._groups.get(path)
        if group is None:
            hold = len(self._groups) < self._most_held
            group = self._groups[path] = Group(lambda: self._cgroups.figures(path), hold=hold)
        return group

    def forget(self, before: float) -> None:
        """Close what was not read since `before`."""
        for path in [path for path, group in self._groups.items() if group.at < before]:
            self._groups.pop(path).close()

    def __len__(self) -> int:
        return len(self._groups)
