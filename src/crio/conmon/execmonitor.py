"""The monitor of one streaming exec: the parent that a detached `runtime exec` leaves its process to.

It takes no part in the streams. With a terminal it hands the master side to the daemon; without one the daemon sent
three descriptors that became the process's stdio. It only waits, so that the exit code is known: `forked` before it
does anything, `started` with the pid, a pidfd and perhaps the terminal, later `exited`. If the daemon goes away first,
the process is told by its streams (hang-up, broken pipe) and the monitor stays until it has ended.
"""

from __future__ import annotations

import os
import socket

from crio.conmon import children
from crio.conmon.launch import Console, Launch, LaunchFailed, environment, join_cgroups, read_error
from crio.conmon.loop import READ, Loop
from crio.conmon.packets import Packet, PacketError, receive, send
from crio.conmon.record import exit_code_of
from crio.linux.prctl import set_child_subreaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crio.conmon.packets import Value


class ExecMonitor:
    """`spec` is the packet that `ExecSpec` was encoded to."""

    def __init__(self, spec: Packet, session: int) -> None:
        self._spec = spec
        self._session = socket.socket(fileno=session)
        self._loop = Loop()
        self._over = False

    def run(self) -> None:
        """Start the process and wait for its end."""
        children.forget()
        children.reap_all()
        set_child_subreaper()
        self._tell("forked", {"monitor_pid": os.getpid()})
        try:
            pid, fds = self._start()
        except LaunchFailed as error:
            self._tell("failed", error.fields())
            return
        except OSError as error:
            self._tell("failed", {"message": error.strerror or str(error), "setup": True})
            return
        except Exception as error:  # noqa: BLE001 - the program's boundary: the daemon is told
            self._tell("failed", {"message": f"{type(error).__name__}: {error}", "setup": True})
            return
        children.remember_only(pid)
        self._loop.add(fds[0], READ, self._ended)
        self._tell("started", {"pid": pid, "monitor_pid": os.getpid()}, fds)
        for fd in fds[1:]:
            os.close(fd)
        while not self._over:
            self._loop.turn(None)
        exit_code, signal_number = exit_code_of(children.status_of(pid))
        self._tell("exited", {"exit_code": exit_code, "signal": signal_number})

    def _tell(self, verb: str, fields: Mapping[str, Value], fds: Sequence[int] = ()) -> None:
        try:
            send(self._session, verb, fields, fds)
        except OSError:
            # The daemon has gone.
            pass

    def _start(self) -> tuple[int, list[int]]:
        spec = self._spec
        join_cgroups(spec.many("cgroup_paths"), os.getpid())
        if cpus := os.sched_getaffinity(0) & set(map(int, spec.many("cpus"))):
            os.sched_setaffinity(0, cpus)
        launch = Launch(self._loop)
        argv = spec.many("argv")
        console = None
        error_read = -1
        if spec.flag("terminal"):
            console = Console(self._loop, spec.text("directory"))
            argv = console.in_argv(argv)
            error_read, error_write = os.pipe2(os.O_CLOEXEC)
            stdio = (0, 1, error_write)
            program = spec.fds[0] if spec.fds else -1
        else:
            if len(spec.fds) < 3:
                raise LaunchFailed("the request for an exec without a terminal has not three files")
            stdio = (spec.fds[0], spec.fds[1], spec.fds[2])
            program = spec.fds[3] if len(spec.fds) > 3 else -1
        launch.spawn(argv, environment(spec.many("env")), stdio, program)
        for fd in {program, *stdio} - {-1, 0, 1, 2}:
            os.close(fd)
        self._loop.add(self._session.fileno(), READ, lambda _events: self._life_line(launch))
        pid_file = spec.text("pid_file")
        try:
            pid = launch.wait(spec.number("timeout_ms", 60_000) / 1000, pid_file)
        except LaunchFailed as error:
            if not error.message and error_read >= 0:
                error.message = read_error(error_read)
            raise
        finally:
            try:
                os.unlink(pid_file)
            except OSError:
                pass
        fds = [_end_of(pid)]
        if console is not None:
            fds.append(console.take())
        return pid, fds

    def _ended(self, _events: int) -> None:
        self._over = True

    def _life_line(self, launch: Launch) -> None:
        try:
            gone = receive(self._session) is None
        except (OSError, PacketError):
            gone = True
        if gone:
            launch.aborted = True
            self._loop.remove(self._session.fileno())


def _end_of(pid: int) -> int:
    """A file that is readable once the process has ended."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        # A short command: it has ended, and was reaped, before the runtime had.
        return os.eventfd(1, os.EFD_CLOEXEC)
