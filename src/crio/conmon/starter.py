"""Creates the container for a new monitor, in a child of it, and ends.

The work of a creation touches much memory that the monitor would keep for the container's whole life; here it is gone
with the process. The runtime is the starter's child. What the runtime leaves behind becomes the monitor's child, as the
nearest subreaper. The monitor has made all files before; the daemon is answered from here.

Monitor and starter are forked before there is a request, so that none waits for a fork.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

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
from crio.conmon.packets import PacketError, decode, receive, receive_encoded, send
from crio.conmon.record import ATTACH_SOCKET, CONTROL_SOCKET, MONITOR_PID_FILE, PID_FILE, replace_file
from crio.conmon.sockets import listen
from crio.linux.prctl import set_parent_death_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crio.conmon.packets import Value

_SAFE_FROM_OOM = b"-1000"


class Starter:
    """All arguments but `monitor`, its pid, are descriptors that the monitor has made and has, or had, too.

    `requests` and `taken` as in monitor.run; `daemon` is the daemon's end of its connection to the monitor; `control`
    and `attach` are unbound sockets; `stdio` are the container's ends of its pipes, and `errors` is our end of the
    last. What the monitor must know goes to `facts` when the container is there, with NUL bytes between: its pid,
    whether it has a terminal, a stdin, the host's pid namespace, the version of its memory cgroup, the path of that
    cgroup's counter of OOM kills, and the request.
    """

    def __init__(
        self,
        *,
        requests: int,
        taken: int,
        daemon: int,
        control: int,
        attach: int,
        oom_event: int,
        stdio: tuple[int, int, int],
        errors: int,
        facts: int,
        monitor: int,
    ) -> None:
        self._requests = requests
        self._taken = taken
        self._daemon = daemon
        self._control = control
        self._attach = attach
        self._oom_event = oom_event
        self._stdio = stdio
        self._errors = errors
        self.facts = facts
        self._monitor = monitor

    def run(self) -> None:
        """Wait for a request, and create the container or tell the daemon why not."""
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != self._monitor:
            return
        self._loop = Loop()
        self._launch = Launch(self._loop)
        self._console: Console | None = None
        with socket.socket(fileno=self._requests) as requests:
            received = receive_encoded(requests)
        if received is None:
            return
        try:
            os.write(self._taken, b"t")
        except BrokenPipeError:
            # The zygote has been killed. The request can be served all the same.
            pass
        os.close(self._taken)
        self._request, fds = received
        if not fds:
            return
        self._asker = socket.socket(fileno=fds[0])
        try:
            self._spec = spec = decode(self._request)
            self._bundle = spec.text("bundle")
            if spec.flag("hold"):
                self._tell("forked", {"monitor_pid": self._monitor})
                if receive(self._asker) is None:
                    return
            facts = self._create()
        except LaunchFailed as error:
            self._failed(error.fields())
        except (PacketError, ValueError, KeyError, AttributeError, TypeError) as error:
            self._launch.kill()
            self._failed({"message": f"{type(error).__name__}: {error}", "setup": True})
        except OSError as error:
            self._launch.kill()
            about = f"{error.filename}: " if error.filename else ""
            self._failed({"message": f"{about}{error.strerror or error}", "setup": True})
        else:
            head = "\0".join(str(fact if not isinstance(fact, bool) else int(fact)) for fact in facts)
            os.write(self.facts, head.encode("utf-8", "surrogateescape") + b"\0" + self._request)
            self._tell("created", {"pid": facts[0], "monitor_pid": self._monitor}, [self._daemon])

    def _create(self) -> tuple[int, bool, bool, bool, int, str]:
        spec = self._spec
        log = open_log(spec.text("log_path"))
        if log >= 0:
            os.close(log)
        terminal, has_stdin = spec.flag("terminal"), spec.flag("stdin")
        argv = spec.many("argv")
        stdin, stdout, stderr = self._stdio
        errors = self._errors
        if terminal:
            self._console = Console(self._loop, self._bundle)
            argv = self._console.in_argv(argv)
            stdout = 1
        self._launch.spawn(
            argv, environment(spec.many("env")), (stdin if has_stdin and not terminal else 0, stdout, stderr)
        )
        os.close(stderr)
        # From here on everything happens while the runtime works.
        self._loop.add(self._asker.fileno(), READ, self._life_line)
        self._prepare_monitor()
        try:
            pid = self._launch.wait(spec.number("timeout_ms", 240_000) / 1000, f"{self._bundle}/{PID_FILE}")
        except LaunchFailed as error:
            error.message = error.message or read_error(errors)
            raise
        if parent_of(pid) != self._monitor:
            raise LaunchFailed(f"the runtime's process {pid} was not left to its monitor")
        version, counter = arm(spec.text("container_cgroup") or find_memory_cgroup(pid), self._oom_event)
        host_pids = os.readlink("/proc/self/ns/pid") == pid_namespace_of(pid)
        if self._console is not None:
            master = self._console.take()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, master.to_bytes(4, sys.byteorder))]
            with socket.socket(fileno=os.dup(self._daemon)) as to_monitor:
                to_monitor.sendmsg([b"t"], rights)
        return pid, terminal, has_stdin, host_pids, version, counter

    def _prepare_monitor(self) -> None:
        """Everything about the monitor that can be done from outside of it."""
        join_cgroups(self._spec.many("cgroup_paths"), self._monitor)
        listen(socket.socket(fileno=self._control), self._bundle, CONTROL_SOCKET)
        listen(socket.socket(fileno=self._attach), self._bundle, ATTACH_SOCKET)
        replace_file(f"{self._bundle}/{MONITOR_PID_FILE}", b"%d" % self._monitor)
        try:
            fd = os.open(f"/proc/{self._monitor}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, _SAFE_FROM_OOM)
            finally:
                os.close(fd)
        except OSError:
            # Not every root may do that (CAP_SYS_RESOURCE); then the monitor is as safe as the daemon is.
            pass

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
