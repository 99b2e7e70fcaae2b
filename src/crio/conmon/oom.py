"""Notices that the kernel killed a process of the container for lack of memory.

Linux counts such kills per cgroup: `oom_kill` in memory.events (v2) or memory.oom_control (v1, Linux 4.13). v2 reports
a change of the file by EPOLLPRI; v1 signals an eventfd that is registered in cgroup.event_control, before the kill and
also for an ancestor's limit, so only the counter tells whether it was this container.
"""

from __future__ import annotations

import os

from crio.conmon.loop import PRIORITY, READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crio.conmon.loop import Loop

CGROUP_ROOT = "/sys/fs/cgroup"
_MAX_FILE = 16 * 1024
_RECHECKS = 20


def find_memory_cgroup(pid: int, root: str = CGROUP_ROOT) -> str:
    """The directory of the cgroup that accounts for the process's memory, or "" if there is none."""
    try:
        with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as file:
            text = file.read(_MAX_FILE).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    unified = ""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            return f"{root}/memory{path}"
        if not controllers:
            unified = path
    return f"{root}{unified}" if unified else ""


class OomWatch:
    """Counts OOM kills in the memory cgroup `directory`, and calls `on_kill` at the first that happens."""

    def __init__(self, loop: Loop, directory: str, on_kill: Callable[[], None]) -> None:
        self._loop = loop
        self._on_kill = on_kill
        self._reported = False
        self._rechecks = 0
        self._counter = self._event = -1
        if not directory:
            return
        try:
            if os.path.exists(f"{directory}/memory.oom_control"):
                self._watch_v1(directory)
            else:
                self._counter = os.open(f"{directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
                self.kills()
                loop.add(self._counter, PRIORITY, self._changed)
        except OSError:
            # Without the memory controller nothing is counted, and a limit cannot be hit.
            pass

    @property
    def must_recheck(self) -> bool:
        """v1 told of a lack of memory and the kill is not counted yet: call `recheck` in a moment."""
        return self._rechecks > 0

    def kills(self) -> int:
        """How many processes of the container were killed for lack of memory until now."""
        if self._counter < 0:
            return 0
        try:
            text = os.pread(self._counter, _MAX_FILE, 0)
        except OSError:
            return 0
        for line in text.splitlines():
            name, _, value = line.partition(b" ")
            if name == b"oom_kill":
                return int(value)
        return 0

    def recheck(self) -> None:
        self._rechecks = max(0, self._rechecks - 1)
        if not self._reported and self.kills():
            self._reported = True
            self._rechecks = 0
            self._on_kill()

    def _watch_v1(self, directory: str) -> None:
        self._counter = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        control = os.open(f"{directory}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(control, b"%d %d" % (self._event, self._counter))
        finally:
            os.close(control)
        self._loop.add(self._event, READ, self._signalled)

    def _signalled(self, _events: int) -> None:
        try:
            os.eventfd_read(self._event)
        except OSError:
            return
        if not self._reported:
            self._rechecks = _RECHECKS
            self.recheck()

    def _changed(self, _events: int) -> None:
        self.recheck()
        if self._reported or not self._still_there():
            # One report is all there is; a removed cgroup would signal for ever.
            self._loop.remove(self._counter)

    def _still_there(self) -> bool:
        try:
            os.pread(self._counter, 1, 0)
        except OSError:
            return False
        return True
