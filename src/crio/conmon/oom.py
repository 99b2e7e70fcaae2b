"""Notices that the kernel killed a process of the container for lack of memory.

Linux counts such kills per cgroup: `oom_kill` in memory.events (v2) or memory.oom_control (v1, Linux 4.13). v2 reports
a change of the file by EPOLLPRI; v1 signals an eventfd that is registered in cgroup.event_control, before the kill and
also for an ancestor's limit, so only the counter tells whether it was this container.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crio.conmon.loop import Loop

CGROUP_ROOT = "/sys/fs/cgroup"
_MAX_FILE = 16 * 1024
_RECHECKS = 20


def find_memory_cgroup(pid: int) -> str:
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
            return f"{CGROUP_ROOT}/memory{path}"
        if not controllers:
            unified = path
    return f"{CGROUP_ROOT}{unified}" if unified else ""


def arm(directory: str, event: int) -> tuple[int, str]:
    """The cgroup version of a memory cgroup and the path of its kill counter; on v1 its events come to `event`.

    (0, "") without the memory controller: then nothing is counted, and no limit can be hit.
    """
    if not directory:
        return 0, ""
    try:
        counter = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        counter = -1
    if counter < 0:
        path = f"{directory}/memory.events"
        return (2, path) if os.path.exists(path) else (0, "")
    try:
        control = os.open(f"{directory}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(control, b"%d %d" % (event, counter))
        finally:
            os.close(control)
    except OSError:
        # Kills are then seen at the container's end only.
        pass
    finally:
        os.close(counter)
    return 1, f"{directory}/memory.oom_control"


def count_kills(counter: str) -> int:
    """How many processes of the cgroup were killed for lack of memory until now."""
    try:
        fd = os.open(counter, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # There is none, or the cgroup has been removed.
        return 0
    try:
        return read_kills(fd)
    finally:
        os.close(fd)


def read_kills(fd: int) -> int:
    """As `count_kills`, from the open file; this is quick."""
    try:
        text = os.pread(fd, _MAX_FILE, 0)
    except OSError:
        return 0
    for line in text.splitlines():
        name, _, value = line.partition(b" ")
        if name == b"oom_kill":
            return int(value)
    return 0


class OomWatch:
    """Calls `on_kill` once, at the first OOM kill. `fd`, which the loop has: the eventfd of v1, the counter of v2."""

    def __init__(self, loop: Loop, version: int, fd: int, counter: str, on_kill: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._counter = counter
        self._on_kill = on_kill
        self._rechecks = 0
        loop.handle(fd, self._signalled if version == 1 else self._changed)

    @property
    def must_recheck(self) -> bool:
        """v1 told of a lack of memory and no kill is counted yet: call `recheck` in a moment."""
        return self._rechecks > 0

    def recheck(self) -> None:
        self._rechecks = max(0, self._rechecks - 1)
        if count_kills(self._counter):
            self._rechecks = 0
            self._loop.remove(self._fd)
            self._on_kill()

    def _signalled(self, _events: int) -> None:
        try:
            os.eventfd_read(self._fd)
        except OSError:
            return
        self._rechecks = _RECHECKS
        self.recheck()

    def _changed(self, _events: int) -> None:
        try:
            os.pread(self._fd, _MAX_FILE, 0)
        except OSError:
            # A removed cgroup would signal for ever.
            self._loop.remove(self._fd)
            return
        self.recheck()
