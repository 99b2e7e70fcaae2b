"""A process with all that it has started, and the end of them all (proc(5))."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import msgspec

from crio.linux.pidfd import kill_process

_MOST_ROUNDS = 64
_MOST_READ = 1 << 17


class _Process(msgspec.Struct, frozen=True):
    pid: int
    parent: int
    session: int
    started: int
    dead: bool


def kill_tree(pid: int) -> int:
    """End a process, its descendants and its session; how many were killed.

    They are stopped first, from the top down: a process that is stopped forks no more, and keeps its children, so that
    none is lost sight of. Only who has left the session and whose parent has ended before is not found. Reads all of
    /proc, which takes some milliseconds: not for the event loop.
    """
    if pid <= 1:
        return 0
    stopped: dict[int, int] = {}
    for _ in range(_MOST_ROUNDS):
        fresh = [process for process in _tree(pid) if stopped.get(process.pid) != process.started]
        if not fresh:
            break
        for process in fresh:
            kill_process(process.pid, process.started, signal.SIGSTOP)
            stopped[process.pid] = process.started
    return sum(kill_process(number, started) for number, started in stopped.items())


def children_of(pid: int) -> list[int]:
    """The children of a process that has no threads; none where the kernel does not tell (CONFIG_PROC_CHILDREN)."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def processes_called(*arguments: str) -> list[int]:
    """The pids of those that have all these arguments on their command line. Not for the event loop, as `kill_tree`."""
    wanted = set(map(os.fsencode, arguments))
    found = []
    for process in _processes():
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/cmdline", "rb") as file:
            if not process.dead and wanted.issubset(file.read(_MOST_READ).split(b"\0")):
                found.append(process.pid)
    return found


def _tree(pid: int) -> list[_Process]:
    """The living ones of the tree below `pid` and of the session that it leads or has led."""
    children: dict[int, list[_Process]] = {}
    found: dict[int, _Process] = {}
    for process in _processes():
        children.setdefault(process.parent, []).append(process)
        if process.pid == pid or process.session == pid:
            found[process.pid] = process
    queue = list(found.values())
    for process in queue:
        for child in children.get(process.pid, ()):
            if child.pid not in found:
                found[child.pid] = child
                queue.append(child)
    return [process for process in queue if not process.dead]


def _processes() -> Iterator[_Process]:
    with os.scandir("/proc") as entries:
        names = [entry.name for entry in entries if entry.name.isdigit()]
    for name in names:
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read(4096)
            fields = stat[stat.rindex(b")") + 2 :].split()
            yield _Process(int(name), int(fields[1]), int(fields[3]), int(fields[19]), fields[0] in (b"Z", b"X"))
