"""Creates the container for a new monitor, in a child of it, and ends.

The work of a creation touches much memory that the monitor would keep for the container's whole life; here it is gone
with the process. The two share one table of open files, so that also the monitor's own files are made here, and it only
has to sleep on them (files.py). The runtime is the starter's child. What the runtime leaves behind becomes the
monitor's child, as the nearest subreaper. The daemon is answered from here.

Monitor and starter are made before there is a request, so that none waits for them.
"""

from __future__ import annotations

import os
import signal
import socket

from crio.conmon.files import Facts, Files, close_all_but, hand_over
from crio.conmon.launch import (
    Console,
    Launch,
    LaunchFailed,
    environment,
    join_cgroups,
    parent_of,
    pid_namespace_of,
    read_error,
)
from crio.conmon.logfile import open_log
from crio.conmon.loop import READ, Loop
from crio.conmon.oom import arm, find_memory_cgroup
from crio.conmon.packets import PacketError, decode, encode, receive, receive_encoded, send, send_encoded
from crio.conmon.record import (
    ATTACH_SOCKET,
    CONTROL_SOCKET,
    EXIT_FILE,
    MONITOR_PID_FILE,
    PID_FILE,
    replace_file,
    reserve_file,
)
from crio.conmon.sockets import listen
from crio.linux.prctl import set_parent_death_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crio.conmon.packets import Value

CREATED, FAILED, CREATED_WITH_HOST_PIDS = range(3)
"""How a starter ends; the last says that the container is in the host's pid namespace."""

_SAFE_FROM_OOM = b"-1000"
_LISTENER = socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK


class Starter:
    """`requests` is the socket with the daemon's request, `taken` a pipe that is told when it has come.

    `monitor` is the parent's pid.
    """

    def __init__(self, requests: int, taken: int, monitor: int) -> None:
        self._requests = requests
        self._taken = taken
        self._monitor = monitor

    def run(self) -> None:
        """Wait for a request, and create the container or tell the daemon why not. Returns only if there is none."""
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != self._monitor:
            return
        # The zygote's own: as long as they are open here the daemon would not see that it has died.
        requests_fd, taken = close_all_but([self._requests, self._taken])
        self._loop = Loop()
        self._launch = Launch(self._loop)
        self._console: Console | None = None
        with socket.socket(fileno=requests_fd) as requests:
            received = receive_encoded(requests)
        if received is None:
            return
        try:
            os.write(taken, b"t")
        except BrokenPipeError:
            # The zygote has been killed. The request can be served all the same.
            pass
        os.close(taken)
        self._request, fds = received
        if not fds:
            return
        self._asker = socket.socket(fileno=fds[0])
        self._program = fds[1] if len(fds) > 1 else -1
        try:
            self._spec = spec = decode(self._request)
            self._bundle = spec.text("bundle")
            if spec.flag("hold"):
                self._tell("forked", {"monitor_pid": self._monitor})
                if receive(self._asker) is None:
                    return
            self._create()
        except LaunchFailed as error:
            self._failed(error.fields())
        except OSError as error:
            self._launch.kill()
            about = f"{error.filename}: " if error.filename else ""
            self._failed({"message": f"{about}{error.strerror or error}", "setup": True})
        except Exception as error:  # noqa: BLE001 - the program's boundary: the daemon is told
            self._launch.kill()
            self._failed({"message": f"{type(error).__name__}: {error}", "setup": True})

    def _create(self) -> None:
        spec = self._spec
        log = open_log(spec.text("log_path"))
        if log >= 0:
            os.close(log)
        terminal, has_stdin = spec.flag("terminal"), spec.flag("stdin")
        argv = spec.many("argv")
        stdin, our_stdin = os.pipe2(os.O_CLOEXEC)
        our_stdout, stdout = os.pipe2(os.O_CLOEXEC)
        errors, stderr = os.pipe2(os.O_CLOEXEC)
        if terminal:
            self._console = Console(self._loop, self._bundle)
            argv = self._console.in_argv(argv)
        self._launch.spawn(
            argv,
            environment(spec.many("env")),
            (stdin if has_stdin and not terminal else 0, 1 if terminal else stdout, stderr),
            self._program,
        )
        os.close(stderr)
        # From here on everything happens while the runtime works.
        self._loop.add(self._asker.fileno(), READ, self._life_line)
        control, attach = self._prepare_monitor()
        session, daemon = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        oom_event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            pid = self._launch.wait(spec.number("timeout_ms", 240_000) / 1000, f"{self._bundle}/{PID_FILE}")
        except LaunchFailed as error:
            error.message = error.message or read_error(errors)
            raise
        pidfd = os.pidfd_open(pid)
        if parent_of(pid) != self._monitor:
            raise LaunchFailed(f"the runtime's process {pid} was not left to its monitor")
        version, counter = arm(spec.text("container_cgroup") or find_memory_cgroup(pid), oom_event)
        host_pids = os.readlink("/proc/self/ns/pid") == pid_namespace_of(pid)
        if self._console is not None:
            master = self._console.take()
            our_stdin, our_stdout, errors = os.dup(master) if has_stdin else -1, master, -1
        files = Files(
            session=session.fileno(),
            control=control.fileno(),
            attach=attach.fileno(),
            stdin=our_stdin if has_stdin else -1,
            stdout=our_stdout,
            stderr=errors,
            pidfd=pidfd,
            oom_counter=os.open(counter, os.O_RDONLY | os.O_CLOEXEC) if version == 2 else -1,
            oom_event=oom_event if version == 1 else -1,
        )
        answer = encode("created", {"pid": pid, "monitor_pid": self._monitor})
        facts = Facts(pid, counter, self._request, files)
        asker, daemons_end = hand_over(facts, [self._asker.fileno(), daemon.fileno()])
        try:
            with socket.socket(fileno=asker) as asking:
                send_encoded(asking, answer, [daemons_end])
        except OSError:
            # The daemon has gone; what it did not hear it will find.
            pass
        os.close(daemons_end)
        # At once: what objects of this process know as their files are the monitor's by now, and must not be closed.
        os._exit(CREATED_WITH_HOST_PIDS if host_pids else CREATED)

    def _prepare_monitor(self) -> tuple[socket.socket, socket.socket]:
        """Everything about the monitor that can be done from outside of it. Its sockets for control and attach."""
        join_cgroups(self._spec.many("cgroup_paths"), self._monitor)
        control, attach = socket.socket(socket.AF_UNIX, _LISTENER), socket.socket(socket.AF_UNIX, _LISTENER)
        listen(control, self._bundle, CONTROL_SOCKET)
        listen(attach, self._bundle, ATTACH_SOCKET)
        replace_file(f"{self._bundle}/{MONITOR_PID_FILE}", b"%d" % self._monitor)
        reserve_file(f"{self._bundle}/{EXIT_FILE}")
        try:
            fd = os.open(f"/proc/{self._monitor}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, _SAFE_FROM_OOM)
            finally:
                os.close(fd)
        except OSError:
            # Not every root may do that (CAP_SYS_RESOURCE); then the monitor is as safe as the daemon is.
            pass
        return control, attach

    def _life_line(self, _events: int) -> None:
        """If the daemon closes its connection while the runtime works, nobody wants the container any more."""
        try:
            if receive(self._asker) is None:
                self._launch.aborted = True
        except (OSError, PacketError):
            self._launch.aborted = True

    def _failed(self, fields: Mapping[str, Value]) -> None:
        """Say so, with a pidfd of the monitor, so that the daemon can wait until that is gone too."""
        if self._console is not None:
            self._console.close()
        for name in (CONTROL_SOCKET, ATTACH_SOCKET, MONITOR_PID_FILE):
            try:
                os.unlink(f"{self._bundle}/{name}")
            except OSError:
                pass
        self._tell("failed", fields, [os.pidfd_open(self._monitor)])

    def _tell(self, verb: str, fields: Mapping[str, Value], fds: Sequence[int] = ()) -> None:
        try:
            send(self._asker, verb, fields, fds)
        except OSError:
            # The daemon has gone; what it did not hear it will find.
            pass
