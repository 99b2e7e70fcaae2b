"""Creates the container for a new monitor, in a child of it, and ends.

The work of a creation touches much memory that the monitor would keep for the container's whole life; here it is gone
with the process. The runtime is the starter's child. What the runtime leaves behind becomes the monitor's child, as the
nearest subreaper. The monitor's files are open already, it has them too; the daemon is answered from here.
"""

from __future__ import annotations

import _socket
import os
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
from crio.conmon.packets import PacketError, decode, receive, send
from crio.conmon.record import ATTACH_SOCKET, CONTROL_SOCKET, MONITOR_PID_FILE, PID_FILE, replace_file
from crio.conmon.sockets import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from crio.conmon.packets import Value

_SAFE_FROM_OOM = b"-1000"


class Starter:
    """`request` is the daemon's packet; all others are descriptors that the monitor has too.

    `session` the connection to the daemon, `control` and `attach` unbound sockets, `stdio` the container's ends of its
    pipes (-1: none, it has a terminal or no stdin) and `errors` our end of the last, `heir` who takes a terminal. What
    the monitor must know is written to `facts` when the container is there: its pid, whether it shares the host's pid
    namespace, the version of its memory cgroup, the path of that cgroup's counter of OOM kills, with NUL bytes between.
    """

    def __init__(
        self,
        request: bytes,
        *,
        session: int,
        control: int,
        attach: int,
        oom_event: int,
        stdio: tuple[int, int, int],
        errors: int,
        facts: int,
        heir: _socket.socket | None,
    ) -> None:
        self._request = request
        self._session_fd = session
        self._control = control
        self._attach = attach
        self._oom_event = oom_event
        self._stdio = stdio
        self._errors = errors
        self._heir = heir
        self.facts = facts

    def run(self) -> None:
        """Create the container, or tell the daemon why not."""
        self._spec = spec = decode(self._request)
        self._session = socket.socket(fileno=self._session_fd)
        self._bundle = spec.text("bundle")
        self._monitor = os.getppid()
        self._loop = Loop()
        self._launch = Launch(self._loop)
        self._console: Console | None = None
        if spec.flag("hold"):
            self._tell("forked", {"monitor_pid": self._monitor})
            if receive(self._session) is None:
                return
        try:
            pid = self._create()
        except LaunchFailed as error:
            self._remove_sockets()
            self._tell("failed", error.fields())
        except OSError as error:
            self._launch.kill()
            self._remove_sockets()
            about = f"{error.filename}: " if error.filename else ""
            self._tell("failed", {"message": f"{about}{error.strerror or error}", "setup": True})
        else:
            self._tell("created", {"pid": pid, "monitor_pid": self._monitor})

    def _create(self) -> int:
        spec = self._spec
        log = open_log(spec.text("log_path"))
        if log >= 0:
            os.close(log)
        argv = spec.many("argv")
        stdin, stdout, stderr = (fd if fd >= 0 else standard for standard, fd in enumerate(self._stdio))
        errors = self._errors
        if self._heir is not None:
            self._console = Console(self._loop, self._bundle)
            argv = self._console.in_argv(argv)
            errors, stderr = os.pipe()
        self._launch.spawn(argv, environment(spec.many("env")), (stdin, stdout, stderr))
        # From here on everything happens while the runtime works.
        self._loop.add(self._session.fileno(), READ, self._life_line)
        self._prepare_monitor()
        try:
            pid = self._launch.wait(spec.number("timeout_ms", 240_000) / 1000, f"{self._bundle}/{PID_FILE}")
        except LaunchFailed as error:
            error.message = error.message or read_error(errors)
            raise
        if parent_of(pid) != self._monitor:
            raise LaunchFailed(f"the runtime's process {pid} was not left to its monitor")
        directory = spec.text("container_cgroup") or find_memory_cgroup(pid)
        version, counter = arm(directory, self._oom_event)
        host_pids = os.readlink("/proc/self/ns/pid") == pid_namespace_of(pid)
        if self._console is not None and self._heir is not None:
            master = self._console.take()
            rights = master.to_bytes(4, sys.byteorder)
            self._heir.sendmsg([b"t"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        os.write(self.facts, f"{pid}\0{int(host_pids)}\0{version}\0{counter}".encode("utf-8", "surrogateescape"))
        return pid

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
        try:
            if receive(self._session) is None:
                self._launch.aborted = True
        except (OSError, PacketError):
            self._launch.aborted = True

    def _tell(self, verb: str, fields: Mapping[str, Value]) -> None:
        try:
            send(self._session, verb, fields)
        except OSError:
            # The daemon has gone; what it did not hear it will find.
            pass

    def _remove_sockets(self) -> None:
        if self._console is not None:
            self._console.close()
        for name in (CONTROL_SOCKET, ATTACH_SOCKET, MONITOR_PID_FILE):
            try:
                os.unlink(f"{self._bundle}/{name}")
            except OSError:
                pass
