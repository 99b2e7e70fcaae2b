"""The open files of one monitor."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select


class Files:
    """Descriptors, -1 for none; all but `stdin` are registered in `epoll`.

    A container with a terminal has its master side as `stdout`, a duplicate as `stdin`, and no `stderr`. `oom_counter`
    is used with cgroup v2, `oom_event` with v1.
    """

    def __init__(
        self,
        epoll: select.epoll,
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
        self.epoll = epoll
        self.session = session
        self.control = control
        self.attach = attach
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.pidfd = pidfd
        self.oom_counter = oom_counter
        self.oom_event = oom_event

    def close(self) -> None:
        self.epoll.close()
        for fd in (self.session, self.control, self.attach, self.stdin, self.stdout, self.stderr, self.pidfd):
            if fd >= 0:
                os.close(fd)
        for fd in (self.oom_counter, self.oom_event):
            if fd >= 0:
                os.close(fd)
