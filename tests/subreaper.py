"""Runs a program under a child subreaper: `python tests/subreaper.py PROGRAM ARGUMENT...`.

Orphans of the program become this process's children and are reaped at once; a machine's PID 1 may take a second for
that, which would make monitors and containers look slow to end. Stays until no descendant is left, so that a daemon may
be killed and started anew under it; ends with the exit code of the program that it has started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

from crio.linux.prctl import set_child_subreaper


def reap_until_alone(main_pid: int) -> int:
    """Reap all children until there are no more. The exit code of `main_pid`."""
    code = 255
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return code
        if pid == main_pid:
            code = os.waitstatus_to_exitcode(status)


def main(argv: list[str]) -> int:
    set_child_subreaper()
    pid = os.posix_spawn(argv[0], argv, os.environ)

    def pass_on(received: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and orphans have not
            os.kill(pid, received)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = reap_until_alone(pid)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
