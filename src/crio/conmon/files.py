"""The open files of one monitor, and how the process that makes them hands them over."""

from __future__ import annotations

import fcntl
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EPOLL = 3
"""The number of the epoll instance in every monitor; what else is open stands in the facts, under the number after."""
FACTS = 4

_FIRST = 3
_ASIDE = 64
"""More than a zygote, starter or monitor ever has open."""
_MAX_FD = 1 << 20
_MAX_FACTS = 128 * 1024
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


def hand_over(files: Files, about: bytes, others: Sequence[int]) -> list[int]:
    """In the starter: leave the monitor, whose table of files this process shares, with `files` and no other.

    `about` is what it will want to know; `read_facts` gives it back. `others` stay open too: their new numbers are
    returned, and the caller closes them.
    """
    with select.epoll() as epoll:
        sleeper = os.dup(epoll.fileno())
    facts = os.memfd_create("facts")
    _, _, *rest = close_all_but([sleeper, facts, *files.in_order(), *others])
    number = len(files.in_order())
    moved, kept = rest[:number], rest[number:]
    os.write(FACTS, b"%s\0%s" % (b" ".join(b"%d" % fd for fd in moved), about))
    there = Files(*moved)
    with select.epoll.fromfd(os.dup(EPOLL)) as epoll:
        for fd in (there.pidfd, there.session, there.control, there.attach, there.stdout, there.stderr):
            if fd >= 0:
                epoll.register(fd, _READ)
        if there.oom_event >= 0:
            epoll.register(there.oom_event, _READ)
        if there.oom_counter >= 0:
            epoll.register(there.oom_counter, _PRIORITY)
    return kept


def read_facts() -> tuple[Files, bytes]:
    """In the monitor: its files, and what `hand_over` was told about them."""
    data = os.pread(FACTS, _MAX_FACTS, 0)
    os.close(FACTS)
    numbers, _, about = data.partition(b"\0")
    return Files(*map(int, numbers.split())), about
