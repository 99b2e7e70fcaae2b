"""The monitor of one container. Runs in a process of its own, forked from the zygote, until the container is gone.

    forked -> [hold: waits for `go`] -> runtime create -> `created` -> serves -> container exits -> exit record
           -> `exited` to watchers -> slow attach clients get their rest -> log synced -> end

While `create` runs, the daemon's connection is its life line: if that closes, the runtime is killed and the monitor
ends. From `created` on nothing but the container's exit ends it; only SIGKILL can.
"""

from __future__ import annotations

import os
import time

from crio.conmon.attach import STDERR, STDOUT, AttachServer
from crio.conmon.control import ControlServer
from crio.conmon.journal import Journal
from crio.conmon.launch import Children, Console, Launch, LaunchFailed, environment, join_cgroups, read_error
from crio.conmon.logfile import LogFile
from crio.conmon.loop import READ, Loop
from crio.conmon.oom import OomWatch, find_memory_cgroup
from crio.conmon.output import OutputStream
from crio.conmon.packets import PROTOCOL, Packet, PacketError, receive, send
from crio.conmon.record import (
    ATTACH_SOCKET,
    CONTROL_SOCKET,
    EXIT_FILE,
    MONITOR_PID_FILE,
    OOM_FILE,
    PID_FILE,
    VERSION,
    exit_code_of,
    json_object,
    replace_file,
)
from crio.conmon.sockets import listen
from crio.conmon.stdin import ContainerInput
from crio.linux.libc import libc
from crio.linux.pty import set_window_size
from crio.wire.crilog import Timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from crio.conmon.packets import Value

_LINGER = 5.0
_OOM_RECHECK = 0.05
_TRIM_AFTER = 1.0
_TRIM_BYTES = 1024 * 1024


class ContainerMonitor:
    """`spec` is the packet that `MonitorSpec` was encoded to; `session` is the connection to who asked for this."""

    def __init__(self, spec: Packet, session: socket.socket) -> None:
        self._spec = spec
        self._session = session
        self._bundle = spec.text("bundle")
        self._terminal = spec.flag("terminal")
        self._loop = Loop()
        self._children = Children(self._loop)
        self._streams: list[OutputStream] = []
        self._pid = 0
        self._status: int | None = None
        self._trimmed_at = 0

    def run(self) -> None:
        if self._spec.flag("hold"):
            send(self._session, "forked", {"monitor_pid": os.getpid()})
            if receive(self._session) is None:
                return
        try:
            self._create()
        except LaunchFailed as error:
            self._tell("failed", error.fields())
            return
        except OSError as error:
            about = f"{error.filename}: " if error.filename else ""
            self._tell("failed", {"message": f"{about}{error.strerror or error}", "setup": True})
            return
        self._serve()
        self._finish()

    # --- creating ---

    def _create(self) -> None:
        spec = self._spec
        self._log = LogFile(spec.text("log_path"), spec.number("log_size_max"))
        launch = Launch(self._loop, self._children)
        argv = spec.many("argv")
        console = None
        stdin, stdin_write, stdout, stdout_read = 0, -1, 1, -1
        if self._terminal:
            console = Console(self._loop, self._bundle)
            argv = console.in_argv(argv)
        else:
            stdout_read, stdout = os.pipe2(os.O_CLOEXEC)
            if spec.flag("stdin"):
                stdin, stdin_write = os.pipe2(os.O_CLOEXEC)
        stderr_read, stderr = os.pipe2(os.O_CLOEXEC)
        launch.spawn(argv, environment(spec.many("env")), (stdin, stdout, stderr))
        for fd in (stdin, stdout, stderr):
            if fd > 2:
                os.close(fd)
        try:
            # All of this happens while the runtime works.
            self._loop.add(self._session.fileno(), READ, lambda _events: self._life_line(launch))
            join_cgroups(spec.many("cgroup_paths"))
            control = listen(self._bundle, CONTROL_SOCKET)
            attach = listen(self._bundle, ATTACH_SOCKET)
            replace_file(f"{self._bundle}/{MONITOR_PID_FILE}", b"%d" % os.getpid())
            self._pid = launch.wait(spec.number("timeout_ms", 240_000) / 1000, f"{self._bundle}/{PID_FILE}")
            self._children.remember_only(self._pid)
            if console is not None:
                os.close(stderr_read)
                stderr_read, stdout_read = -1, console.take()
                stdin_write = os.dup(stdout_read) if spec.flag("stdin") else -1
        except LaunchFailed as error:
            self._remove_sockets(console)
            error.message = error.message or read_error(stderr_read)
            raise
        except OSError:
            launch.kill()
            self._remove_sockets(console)
            raise
        self._set_up_streams(attach, stdin_write, stdout_read, stderr_read)
        self._set_up_control(control)
        directory = spec.text("container_cgroup") or find_memory_cgroup(self._pid)
        self._oom = OomWatch(self._loop, directory, self._oom_killed)

    def _life_line(self, launch: Launch) -> None:
        try:
            if receive(self._session) is None:
                launch.aborted = True
        except (OSError, PacketError):
            launch.aborted = True

    def _set_up_streams(self, listener: socket.socket, stdin: int, stdout: int, stderr: int) -> None:
        spec = self._spec
        self._master = stdout if self._terminal else -1
        self._stdin = ContainerInput(self._loop, stdin) if stdin >= 0 else None
        self._attach = AttachServer(self._loop, listener, self._stdin, stdin_once=spec.flag("stdin_once"))
        self._journal = None
        if spec.flag("log_to_journald"):
            self._journal = Journal(
                spec.text("id"), spec.text("name"), spec.text("log_tag"), spec.many("log_labels"), spec.text("journal")
            )
        stamps = Timestamps()
        for fd, kind in ((stdout, STDOUT), (stderr, STDERR)):
            if fd >= 0:
                stream = OutputStream(
                    self._loop, fd, kind, log=self._log, stamps=stamps, attach=self._attach, journal=self._journal
                )
                self._streams.append(stream)

    def _set_up_control(self, listener: socket.socket) -> None:
        self._control = ControlServer(
            self._loop,
            {
                "status": self._op_status,
                "reopen-log": self._op_reopen_log,
                "resize": self._op_resize,
                "close-stdin": self._op_close_stdin,
            },
        )
        self._control.listen(listener)
        self._loop.remove(self._session.fileno())
        self._tell("created", {"pid": self._pid, "monitor_pid": os.getpid()})
        self._control.adopt(self._session)

    def _tell(self, verb: str, fields: Mapping[str, Value]) -> None:
        try:
            send(self._session, verb, fields)
        except OSError:
            # The daemon has gone; what it did not hear it will find.
            pass

    def _remove_sockets(self, console: Console | None) -> None:
        if console is not None:
            console.close()
        for name in (CONTROL_SOCKET, ATTACH_SOCKET, MONITOR_PID_FILE):
            try:
                os.unlink(f"{self._bundle}/{name}")
            except OSError:
                pass

    # --- serving ---

    def _serve(self) -> None:
        while (status := self._children.ended(self._pid)) is None:
            quiet = not self._loop.turn(self._patience())
            for stream in self._streams:
                stream.settle()
            if self._oom.must_recheck:
                self._oom.recheck()
            elif quiet:
                self._trim()
        self._status = status

    def _patience(self) -> float | None:
        """How long nothing may happen until there is something to do all the same."""
        if any(stream.holds for stream in self._streams):
            return 0
        if self._oom.must_recheck:
            return _OOM_RECHECK
        if self._bytes_read() - self._trimmed_at > _TRIM_BYTES:
            return _TRIM_AFTER
        return None

    def _trim(self) -> None:
        """After a burst of output: give the memory of its buffers back to the system."""
        if (count := self._bytes_read()) - self._trimmed_at > _TRIM_BYTES:
            self._trimmed_at = count
            libc.malloc_trim(0)

    def _bytes_read(self) -> int:
        return sum(stream.bytes_read for stream in self._streams)

    def _oom_killed(self) -> None:
        self._keep(f"{self._bundle}/{OOM_FILE}", b"")

    def _keep(self, path: str, data: bytes) -> None:
        try:
            replace_file(path, data)
        except OSError:
            # The file system is full or gone. A daemon that watches is told all the same.
            pass

    def _op_status(self, _request: Packet) -> Mapping[str, Value]:
        return {
            "protocol": PROTOCOL,
            "id": self._spec.text("id"),
            "pid": self._pid,
            "monitor_pid": os.getpid(),
            "exited": self._status is not None,
            "attached": self._attach.count,
            "bytes_read": self._bytes_read(),
            "log_dropped": self._log.dropped,
            "log_error": self._log.error,
            "journal_dropped": self._journal.dropped if self._journal else 0,
            "oom_kills": self._oom.kills(),
        }

    def _op_reopen_log(self, _request: Packet) -> Mapping[str, Value]:
        self._log.reopen()
        return {}

    def _op_resize(self, request: Packet) -> Mapping[str, Value]:
        if self._master < 0:
            raise PacketError("the container has no terminal")
        set_window_size(self._master, request.number("rows"), request.number("columns"))
        return {}

    def _op_close_stdin(self, _request: Packet) -> Mapping[str, Value]:
        if self._stdin is not None:
            self._stdin.close()
        return {}

    # --- ending ---

    def _finish(self) -> None:
        assert self._status is not None
        finished_at = time.time_ns()
        self._master = -1
        for stream in self._streams:
            stream.drain()
        exit_code, signal_number = exit_code_of(self._status)
        kills = self._oom.kills()
        if kills:
            self._oom_killed()
        fields: dict[str, int | bool | str] = {
            "version": VERSION,
            "exit_code": exit_code,
            "signal": signal_number,
            "oom_killed": kills > 0,
            "oom_kills": kills,
            "finished_at_ns": finished_at,
            "log_dropped": self._log.dropped,
            "log_error": self._log.error,
        }
        self._keep(f"{self._bundle}/{EXIT_FILE}", json_object(fields))
        if exit_dir := self._spec.text("exit_dir"):
            self._keep(f"{exit_dir}/{self._spec.text('id')}", b"%d" % exit_code)
        self._control.announce("exited", fields)
        deadline = time.monotonic() + _LINGER
        while self._attach.pending() and (left := deadline - time.monotonic()) > 0:
            self._loop.turn(left)
        self._attach.close()
        self._log.close(sync=not self._spec.flag("no_sync_log"))
