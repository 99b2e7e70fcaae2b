"""Reaping: zygote and monitor reap all their children, orphans that a subreaper inherits included.

The signal handler does it, between two steps of whatever runs; so it costs neither a descriptor nor, in a monitor, any
memory until a child ends. That somebody waits for is seen through a pidfd.
"""

from __future__ import annotations

import os
import signal

_MAX_REMEMBERED = 256

_ended: dict[int, int] = {}
_only: list[int] = []


def on_sigchld(_signal: int, _frame: object) -> None:
    """The handler of SIGCHLD. Wait statuses are kept for `status_of`."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in _only or (not _only and len(_ended) < _MAX_REMEMBERED):
            _ended[pid] = status


def reap_all() -> None:
    """Have the handler called from now on."""
    signal.signal(signal.SIGCHLD, on_sigchld)


def forget() -> None:
    """In a new process: what the parent knew of its children is of no use."""
    _ended.clear()
    _only.clear()


def remember_only(pid: int) -> None:
    """From now on the fate of other children is of no interest."""
    _only[:] = [pid]
    # The copy is made by one step of the interpreter: the handler may add to the original at any time.
    for other in list(_ended):
        if other != pid:
            del _ended[other]


def status_of(pid: int) -> int | None:
    """The wait status of a child that has ended, as its pidfd told; None if it was not a child."""
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return _ended.get(pid)
