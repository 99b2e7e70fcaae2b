"""The open files of one monitor, and how the process that makes them hands them over."""

from __future__ import annotations

import fcntl
import os
import select
import sys

from crio.conmon.packets import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EPOLL, FACTS, REAPED = 3, 4, 5
"""Numbers in every monitor: its epoll instance; the facts, in which all else stands that is open; and an eventfd.

The eventfd is readable from the moment on in which the monitor has reaped its container.
"""
PID_AT, STATUS_AT = 0, 4
"""Where the facts have the container's pid, and its wait status once it is reaped: two C ints before all the rest."""

_FIRST = 3
_ASIDE = 64
"""More than a zygote, starter or monitor ever has open."""
_MAX_FD = 1 << 20
_MAX_FACTS = 256 * 1024
_INT = 4
_TEXT_AT = 8
_READ, _PRIORITY = select.EPOLLIN, select.EPOLLPRI


class Files:
    """Descriptors, -1 for none; all but `stdin` are registered in `epoll`.

    A container with a terminal has its master side as `stdout`, a duplicate as `stdin`, and no `stderr`. `oom_counter`
    is used with cgroup v2, `oom_event` with v1.
    """

    def __init__(
        self,
        session: int,
        control: int,
        attach: int,
        stdin: int,
        stdout: int,
        stderr: int,
        pidfd: int,
        oom_counter: int,
        oom_event: int,
    ) -> None:
        self.session = session
        self.control = control
        self.attach = attach
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.pidfd = pidfd
        self.oom_counter = oom_counter
        self.oom_event = oom_event

    def in_order(self) -> list[int]:
        """All of them, as the constructor takes them."""
        return [
            self.session,
            self.control,
            self.attach,
            self.stdin,
            self.stdout,
            self.stderr,
            self.pidfd,
            self.oom_counter,
            self.oom_event,
        ]


def close_all_but(fds: Sequence[int]) -> list[int]:
    """Close everything but the standard streams and `fds`, which move to the lowest numbers; -1 stays -1."""
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ASIDE) if fd >= 0 else -1 for fd in fds]
    kept: list[int] = []
    following = _FIRST
    for fd in aside:
        kept.append(os.dup2(fd, following, inheritable=False) if fd >= 0 else -1)
        following += fd >= 0
    os.closerange(following, _MAX_FD)
    return kept


class Facts:
    """What a monitor has to know: `pid` and `counter` of OOM kills of its container, and the `request` for it.

    `state` is for the next server from the one before, empty for the first. All of it lies in `file`, so that the
    monitor itself need not have it in its memory; `reaped` is the eventfd that goes with it.
    """

    __slots__ = ("counter", "file", "files", "pid", "reaped", "request", "state")

    def __init__(
        self, pid: int, counter: str, request: bytes, files: Files, *, file: int = FACTS, reaped: int = REAPED
    ) -> None:
        self.pid = pid
        self.counter = counter
        self.request = request
        self.files = files
        self.state = b""
        self.file = file
        self.reaped = reaped

    @classmethod
    def read(cls, file: int = FACTS, reaped: int = REAPED) -> Facts:
        """What `write` wrote."""
        data = os.pread(file, _MAX_FACTS, 0)
        pid = int.from_bytes(data[PID_AT : PID_AT + _INT], sys.byteorder)
        numbers, counter, lengths, rest = data[_TEXT_AT:].split(b"\0", 3)
        middle, end = map(int, lengths.split())
        files = Files(*map(int, numbers.split()))
        facts = cls(pid, counter.decode("utf-8", "surrogateescape"), rest[middle:end], files, file=file, reaped=reaped)
        facts.state = rest[:middle]
        return facts

    def write(self) -> None:
        """In one step, which is done or not when the writer is killed. A longer text from before may follow."""
        numbers = b" ".join(b"%d" % fd for fd in self.files.in_order())
        counter = self.counter.encode("utf-8", "surrogateescape")
        middle, end = len(self.state), len(self.state) + len(self.request)
        text = b"%s\0%s\0%d %d\0%s%s" % (numbers, counter, middle, end, self.state, self.request)
        os.pwrite(self.file, self.pid.to_bytes(_INT, sys.byteorder), PID_AT)
        os.pwrite(self.file, text, _TEXT_AT)

    def wait_status(self) -> int:
        """How the container has ended, as soon as the monitor has reaped it."""
        with select.epoll() as epoll:
            epoll.register(self.reaped, _READ)
            epoll.poll()
        return int.from_bytes(os.pread(self.file, _INT, STATUS_AT), sys.byteorder)

    def open_files(self) -> list[int]:
        """All that the next server will take over."""
        state = decode(self.state) if self.state else None
        others = [int(item.split()[0]) for item in state.many("connections")] if state else []
        return [*self.files.in_order(), *others, state.number("log", -1) if state else -1]


def hand_over(facts: Facts, others: Sequence[int]) -> list[int]:
    """In the starter: leave the monitor, whose table of files this process shares, with these files and no other.

    `others` stay open too: their new numbers are returned, and the caller closes them.
    """
    with select.epoll() as epoll:
        sleeper = os.dup(epoll.fileno())
    memory = os.memfd_create("facts")
    reaped = os.eventfd(0)
    _, _, _, *rest = close_all_but([sleeper, memory, reaped, *facts.files.in_order(), *others])
    number = len(facts.files.in_order())
    moved, kept = rest[:number], rest[number:]
    facts.files = there = Files(*moved)
    facts.write()
    with select.epoll.fromfd(os.dup(EPOLL)) as epoll:
        for fd in (there.pidfd, there.session, there.control, there.attach, there.stdout, there.stderr):
            if fd >= 0:
                epoll.register(fd, _READ)
        if there.oom_event >= 0:
            epoll.register(there.oom_event, _READ)
        if there.oom_counter >= 0:
            epoll.register(there.oom_counter, _PRIORITY)
    return kept


def close_strays(kept: Sequence[int]) -> None:
    """Close what a server that died has left open: everything but the standard streams, the three and `kept`."""
    following = _FIRST + 3
    for fd in sorted(fd for fd in kept if fd >= following):
        os.closerange(following, fd)
        following = fd + 1
    os.closerange(following, _MAX_FD)
