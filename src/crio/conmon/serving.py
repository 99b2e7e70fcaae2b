"""What a monitor does while something happens: output, attach, control, OOM, and in the end the exit record.

It runs in a child of the monitor (monitor.py) with the same open files, from an event on until nothing has happened for
a while, and leaves what the next one has to know in the facts (files.py). Each part is built when the first event for
it comes. No module is loaded late, because an upgrade may have replaced it by then.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time

from crio.conmon import children
from crio.conmon.attach import STDERR, STDOUT, AttachServer
from crio.conmon.control import ControlServer
from crio.conmon.files import Facts, Files
from crio.conmon.journal import Journal
from crio.conmon.logfile import LogFile
from crio.conmon.loop import Loop
from crio.conmon.oom import CGROUP_ROOT, OomWatch, count_kills, read_kills
from crio.conmon.oomlog import killed_for_memory
from crio.conmon.output import OutputStream
from crio.conmon.packets import PROTOCOL, PacketError, decode, encode, send
from crio.conmon.record import CRASH_FILE, EXIT_FILE, OOM_FILE, VERSION, exit_code_of, json_object, replace_file
from crio.conmon.stdin import ContainerInput
from crio.linux.libc import libc
from crio.linux.pty import set_window_size
from crio.wire.crilog import Timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from crio.conmon.packets import Packet, Value

_KILL_IS_RECENT = 60.0
"""Seconds; a kill in the kernel's log that is older was not the end of a container that has just ended."""
_LINGER = 5.0
_LOG_RECOVERED = 1.0
_OOM_RECHECK = 0.05
_LINE_PATIENCE = 0.005
"""How long the rest of a line is waited for: nobody sees it of a prompt, and a program's buffers tear fewer lines."""
_TRIM_AFTER = 0.3
_TRIM_BYTES = 1024 * 1024
_REST_AFTER, _MAX_REST_AFTER = 2.0, 60.0
"""Seconds without an event after which a server leaves. It is doubled each time that the next is needed soon."""
_SOON = 30.0
_REHEARSALS = 12


class Service:
    """One server of the monitor whose pid is `monitor`, on its epoll instance."""

    def __init__(self, facts: Facts, monitor: int, epoll: select.epoll) -> None:
        self._facts = facts
        self._monitor = monitor
        self._spec = decode(facts.request)
        self._pid = facts.pid
        self._oom_counter = facts.counter
        self._kills = 0
        self._files = files = facts.files
        self._count_kills()
        self._loop = Loop(epoll)
        self._streams: list[OutputStream] = []
        self._log: LogFile | None = None
        self._journal: Journal | None = None
        self._attach: AttachServer | None = None
        self._control: ControlServer | None = None
        self._oom: OomWatch | None = None
        self._stdin: ContainerInput | None = None
        self._bytes_before = 0
        self._trimmed_at = 0
        self._rest_after = _REST_AFTER
        self._log_failing = False
        self._over = False
        self.at_rest = False
        """The next server may go on."""
        self._loop.handle(files.pidfd, self._ended)
        self._loop.handle(files.session, self._first_request)
        self._loop.handle(files.control, self._first_request)
        self._loop.handle(files.attach, self._first_attach)
        self._loop.handle(files.stdout, self._first_output)
        self._loop.handle(files.stderr, self._first_output)
        self._loop.handle(files.oom_event, self._first_oom)
        self._loop.handle(files.oom_counter, self._first_oom)
        if facts.state:
            self._go_on(decode(facts.state))

    def run(self) -> bool:
        """Serve until the container has ended and its end is recorded, or (False) until nothing happens any more."""
        while not self._over and not self.at_rest:
            self.turn()
        if self._over:
            self._finish()
        return self._over

    def turn(self) -> None:
        """Wait for events, and do what they ask for."""
        patience = self.patience()
        quiet = not self._loop.turn(patience)
        for stream in self._streams:
            stream.settle()
        if self._log is not None and self._log.failing is not self._log_failing:
            self._tell_of_log(self._log)
        if self._oom is not None and self._oom.must_recheck:
            self._oom.recheck()
        elif quiet and patience == _TRIM_AFTER:
            self._trim()
        elif quiet and patience == self._rest_after:
            self.leave()

    def _tell_of_log(self, log: LogFile) -> None:
        """It cannot be written, or can again; on a full disk a short line may fit between others, which is no news."""
        if log.failing or time.monotonic() - log.failed_at > _LOG_RECOVERED:
            self._log_failing = log.failing
            self._serve_requests().announce_log(self._log_facts())

    def patience(self) -> float | None:
        """How long nothing may happen until there is something to do all the same."""
        for stream in self._streams:
            if stream.holds:
                return _LINE_PATIENCE
        if self._oom is not None and self._oom.must_recheck:
            return _OOM_RECHECK
        if self._streams and self._bytes_read() - self._trimmed_at > _TRIM_BYTES:
            return _TRIM_AFTER
        if self._log_failing and self._log is not None and not self._log.failing:
            # There may be room for good, and nothing more to write.
            return _LOG_RECOVERED
        return self._rest_after if self._may_leave() else None

    def _may_leave(self) -> bool:
        """Whether there is nothing to know but what `leave` writes down."""
        if self._attach is not None and self._attach.count:
            return False
        if self._journal is not None or (self._stdin is not None and self._stdin.blocked):
            return False
        if self._log is not None and (self._log.failing or self._log_failing):
            return False
        return all(stream.between_lines for stream in self._streams)

    def leave(self) -> None:
        """Write down for the next server what it cannot see."""
        files = self._files
        for stream in self._streams:
            if stream.kind == STDOUT:
                files.stdout = stream.fileno()
            else:
                files.stderr = stream.fileno()
        if self._stdin is not None:
            files.stdin = self._stdin.fileno()
        state: dict[str, Value] = {
            "left_at_ms": int(time.monotonic() * 1000),
            "rest_after_ms": int(self._rest_after * 1000),
            "bytes_read": self._bytes_read(),
            "oom_kills": self._kills,
        }
        if self._log is not None:
            state["log"] = self._log.fileno()
            state["log_dropped"] = self._log.dropped
            state["log_error"] = self._log.error
        if self._control is not None:
            files.session = -1
            state["connections"] = [f"{fd} {watches:d} {log:d}" for fd, watches, log in self._control.connections()]
            state["controlled"] = True
        self._facts.state = encode("state", state)
        self._facts.write()
        self.at_rest = True

    def _go_on(self, state: Packet) -> None:
        """From where the server before has left."""
        if time.monotonic() - state.number("left_at_ms") / 1000 < _SOON:
            self._rest_after = min(2 * state.number("rest_after_ms") / 1000, _MAX_REST_AFTER)
        self._bytes_before = self._trimmed_at = state.number("bytes_read")
        self._kills = max(self._kills, state.number("oom_kills"))
        if log := state.text("log"):
            path, size_max = self._spec.text("log_path"), self._spec.number("log_size_max")
            self._log = LogFile(path, size_max, int(log), state.number("log_dropped"), state.text("log_error"))
        if state.flag("controlled"):
            control = self._serve_requests()
            for connection in state.many("connections"):
                fd, watches, watches_log = map(int, connection.split())
                control.take(socket.socket(fileno=fd), watches=bool(watches), watches_log=bool(watches_log))

    def _trim(self) -> None:
        """After a burst of output: give the memory of its buffers back to the system."""
        self._trimmed_at = self._bytes_read()
        libc.malloc_trim(0)

    def _bytes_read(self) -> int:
        total = self._bytes_before
        for stream in self._streams:
            total += stream.bytes_read
        return total

    def _ended(self, _events: int) -> None:
        self._count_kills()
        self._loop.remove(self._files.pidfd)
        self._over = True

    def _count_kills(self) -> None:
        """First of all: an init system removes the cgroup, and the counter with it, as soon as nothing runs in it."""
        if self._files.oom_counter >= 0:
            self._kills = max(self._kills, read_kills(self._files.oom_counter))

    # --- parts, made when needed ---

    def _first_output(self, _events: int) -> None:
        spec = self._spec
        log = self._log_file()
        if spec.flag("log_to_journald"):
            self._journal = Journal(
                spec.text("id"), spec.text("name"), spec.text("log_tag"), spec.many("log_labels"), spec.text("journal")
            )
        stamps = Timestamps()
        for fd, kind in ((self._files.stdout, STDOUT), (self._files.stderr, STDERR)):
            if fd >= 0:
                stream = OutputStream(self._loop, fd, kind, log, stamps, self._journal)
                stream.attach = self._attach
                self._streams.append(stream)

    def _log_file(self) -> LogFile:
        if self._log is None:
            self._log = LogFile(self._spec.text("log_path"), self._spec.number("log_size_max"))
        return self._log

    def _first_attach(self, _events: int) -> None:
        listener = socket.socket(fileno=self._files.attach)
        self._attach = AttachServer(self._loop, listener, self._input(), stdin_once=self._spec.flag("stdin_once"))
        for stream in self._streams:
            stream.attach = self._attach

    def _input(self) -> ContainerInput | None:
        if self._stdin is None and self._files.stdin >= 0:
            self._stdin = ContainerInput(self._loop, self._files.stdin)
        return self._stdin

    def _first_request(self, _events: int) -> None:
        self._serve_requests()

    def _serve_requests(self) -> ControlServer:
        if self._control is None:
            operations = {
                "status": self._op_status,
                "reopen-log": self._op_reopen_log,
                "resize": self._op_resize,
                "close-stdin": self._op_close_stdin,
            }
            self._control = ControlServer(self._loop, operations, socket.socket(fileno=self._files.control))
            if self._files.session >= 0:
                session = socket.socket(fileno=self._files.session)
                self._control.take(session, watches=True, watches_log=self._spec.flag("log_news"))
        return self._control

    def _first_oom(self, _events: int) -> None:
        version, fd = (1, self._files.oom_event) if self._files.oom_counter < 0 else (2, self._files.oom_counter)
        self._oom = OomWatch(self._loop, version, fd, self._oom_counter, self._oom_killed)

    def _oom_killed(self) -> None:
        self._kills = max(self._kills, 1)
        self._keep(f"{self._spec.text('bundle')}/{OOM_FILE}", b"")

    # --- requests ---

    def _op_status(self, _request: Packet) -> Mapping[str, Value]:
        return {
            "protocol": PROTOCOL,
            "id": self._spec.text("id"),
            "pid": self._pid,
            "monitor_pid": self._monitor,
            "exited": self._over,
            "attached": self._attach.count if self._attach is not None else 0,
            "bytes_read": self._bytes_read(),
            **self._log_facts(),
            "journal_dropped": self._journal.dropped if self._journal is not None else 0,
            "oom_kills": max(self._kills, count_kills(self._oom_counter)),
        }

    def _log_facts(self) -> Mapping[str, Value]:
        if self._log is None:
            return {"log_dropped": 0, "log_error": "", "log_failing": False}
        return {"log_dropped": self._log.dropped, "log_error": self._log.error, "log_failing": self._log.failing}

    def _op_reopen_log(self, _request: Packet) -> Mapping[str, Value]:
        self._log_file().reopen()
        return {}

    def _op_resize(self, request: Packet) -> Mapping[str, Value]:
        if not self._spec.flag("terminal"):
            raise PacketError("the container has no terminal")
        if self._streams and self._streams[0].fileno() < 0:
            raise PacketError("the container's terminal is closed")
        set_window_size(self._files.stdout, request.number("rows"), request.number("columns"))
        return {}

    def _op_close_stdin(self, _request: Packet) -> Mapping[str, Value]:
        stdin = self._input()
        if stdin is not None:
            stdin.close()
        return {}

    # --- the end ---

    def _wait_status(self) -> int:
        """Only the monitor itself can reap the container, which it may have done before."""
        status = children.status_of(self._pid)
        return self._facts.wait_status() if status is None else status

    def _all_kills(self, exit_code: int) -> int:
        kills = max(self._kills, count_kills(self._oom_counter))
        if kills or not exit_code or self._files.oom_counter < 0 or os.path.exists(self._oom_counter):
            return kills
        # The counter is gone. Whose pid it was, and whose group, is new for each container.
        group = os.path.dirname(self._oom_counter).removeprefix(CGROUP_ROOT)
        return int(killed_for_memory(self._pid, group, time.monotonic() - _KILL_IS_RECENT))

    def _finish(self) -> None:
        finished_at = time.time_ns()
        exit_code, signal_number = exit_code_of(self._wait_status())
        if not self._streams:
            self._first_output(0)
        for stream in self._streams:
            stream.drain()
        kills = self._all_kills(exit_code)
        if kills:
            self._oom_killed()
        log = self._log_file()
        fields: dict[str, int | bool | str] = {
            "version": VERSION,
            "exit_code": exit_code,
            "signal": signal_number,
            "oom_killed": kills > 0,
            "oom_kills": kills,
            "finished_at_ns": finished_at,
            "log_dropped": log.dropped,
            "log_error": log.error,
        }
        self._keep(f"{self._spec.text('bundle')}/{EXIT_FILE}", json_object(fields))
        if exit_dir := self._spec.text("exit_dir"):
            self._keep(f"{exit_dir}/{self._spec.text('id')}", b"%d" % exit_code)
        self._serve_requests().announce("exited", fields)
        deadline = time.monotonic() + _LINGER
        while self._attach is not None and self._attach.pending() and (left := deadline - time.monotonic()) > 0:
            self._loop.turn(left)
        log.close(sync=not self._spec.flag("no_sync_log"))

    def leave_traceback(self) -> None:
        """Of a mistake in this program, where somebody will look for it: in the bundle. Standard error is /dev/null."""
        fd = os.open(f"{self._spec.text('bundle')}/{CRASH_FILE}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.dup2(fd, 2)
        sys.excepthook(*sys.exc_info())

    def _keep(self, path: str, data: bytes) -> None:
        try:
            replace_file(path, data)
        except OSError:
            # The file system is full or gone. A daemon that watches is told all the same.
            pass


def rehearse() -> None:
    """In the zygote: have all of it run for a container that is none, so that the interpreter's caches are filled.

    What they are filled with in a monitor would be memory of that monitor.
    """
    request = encode("monitor", {"bundle": "/proc", "log_path": "/dev/null", "no_sync_log": True})
    for _ in range(_REHEARSALS):
        stdout, output = os.pipe()
        stderr, errors = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control, attach = (socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
        over, reaped, memory = os.eventfd(0), os.eventfd(1), os.memfd_create("facts")
        epoll = select.epoll()
        for fd in (ours.fileno(), stdout, stderr, over):
            epoll.register(fd, select.EPOLLIN)
        files = Files(ours.detach(), control.detach(), attach.detach(), -1, stdout, stderr, over, -1, -1)
        Facts(0, "", request, files, file=memory).write()
        for texts in ((b"a line\n",), (b"a line,\nand a half", b"\n"), (b"x" * 40_000 + b"\n",)):
            service = Service(Facts.read(memory, reaped), 0, epoll)
            for text in texts:
                os.write(output, text)
                os.write(errors, text)
                service.turn()
                while (service.patience() or _REST_AFTER) < _REST_AFTER:
                    service.turn()
            for verb in ("status", "reopen-log", "watch"):
                send(theirs, verb, {})
                service.turn()
            service.leave()
        service = Service(Facts.read(memory, reaped), 0, epoll)
        os.close(output)
        os.close(errors)
        os.eventfd_write(over, 1)
        service.run()
        for fd in (over, reaped, memory):
            os.close(fd)
        theirs.close()
