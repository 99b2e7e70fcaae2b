"""Runs an OCI runtime command that leaves a process behind (`create`, `exec --detach`) and says which process it is."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from crio.conmon.loop import READ, wakeup_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crio.conmon.loop import Loop
    from crio.conmon.packets import Value

_MAX_EARLY = 256
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Ignored in a monitor; that would be inherited by the container."""
_MAX_PID_FILE = 32
CONSOLE_PLACEHOLDER = "{console}"
"""The argument of the runtime in whose place the path of the console socket is put."""


class LaunchFailed(Exception):
    """The runtime did not leave a process behind. `timed_out` or `aborted` say that it was killed for that."""

    def __init__(self, message: str, *, timed_out: bool = False, aborted: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.timed_out = timed_out
        self.aborted = aborted

    def fields(self) -> dict[str, Value]:
        """Of the `failed` packet."""
        return {"message": self.message, "timed_out": self.timed_out}


class Children:
    """Reaps all children: the runtime, the container, and every orphan of theirs, as the subreaper has to.

    SIGCHLD must have a handler already (the zygote sets one), so that it reaches the wakeup descriptor.
    """

    def __init__(self, loop: Loop) -> None:
        self._read_end, write_end = wakeup_pipe()
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        loop.add(self._read_end, READ, self._woken)
        self._ended: dict[int, int] = {}
        self._only = 0

    def ended(self, pid: int) -> int | None:
        """The wait status of a child, None while it lives."""
        return self._ended.get(pid)

    def is_child(self, pid: int) -> bool:
        """Whether `pid` is or was a child of this process."""
        if pid in self._ended:
            return True
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def remember_only(self, pid: int) -> None:
        """From now on the fate of other children is of no interest."""
        self._only = pid
        self._ended = {pid: self._ended[pid]} if pid in self._ended else {}

    def _woken(self, _events: int) -> None:
        try:
            os.read(self._read_end, 4096)
        except BlockingIOError:
            pass
        self.reap()

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._only or (not self._only and len(self._ended) < _MAX_EARLY):
                self._ended[pid] = status


class Console:
    """The socket on which a runtime hands over a terminal's master side (`--console-socket`)."""

    def __init__(self, loop: Loop, directory: str) -> None:
        self._loop = loop
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        name = f".console.{os.getpid()}"
        # Through /proc, because the directory's own path may be too long for a socket address.
        self.path = f"/proc/{os.getpid()}/fd/{self._directory}/{name}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self.master = -1
        old = os.umask(0o177)
        try:
            self._listener.bind(self.path)
        finally:
            os.umask(old)
        self._listener.listen(1)
        loop.add(self._listener.fileno(), READ, self.receive)

    def receive(self, _events: int = 0) -> None:
        """Take the terminal if the runtime has sent it by now."""
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        with sock:
            sock.settimeout(1.0)
            try:
                _, control, _, _ = sock.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return
        for level, kind, payload in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(payload) >= 4:
                if self.master >= 0:
                    os.close(self.master)
                self.master = int.from_bytes(payload[:4], sys.byteorder)

    def in_argv(self, argv: Sequence[str]) -> list[str]:
        return [self.path if item == CONSOLE_PLACEHOLDER else item for item in argv]

    def take(self) -> int:
        """End of listening: the terminal's master side, owned by the caller. Raises LaunchFailed if none came."""
        self.receive()
        self.close()
        if self.master < 0:
            raise LaunchFailed("the runtime has sent no terminal")
        return self.master

    def close(self) -> None:
        if self._listener.fileno() < 0:
            return
        self._loop.remove(self._listener.fileno())
        self._listener.close()
        try:
            os.unlink(self.path)
        except OSError:
            pass
        os.close(self._directory)


class Launch:
    """One run of the runtime. `aborted` may be set by a handler of the loop: then the runtime is killed."""

    def __init__(self, loop: Loop, children: Children) -> None:
        self._loop = loop
        self._children = children
        self._pid = 0
        self.aborted = False

    def spawn(self, argv: list[str], env: Mapping[str, str], stdio: tuple[int, int, int]) -> None:
        """Start the runtime with the three descriptors as its stdio, default signals and a process group of its own."""
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(stdio)]
        try:
            self._pid = os.posix_spawn(
                argv[0],
                argv,
                env,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        except OSError as error:
            raise LaunchFailed(f"cannot run {argv[0]}: {error.strerror}") from None

    def wait(self, timeout: float, pid_file: str) -> int:
        """The pid of the process that the runtime left. Raises LaunchFailed; its message is "" if stderr tells more."""
        deadline = time.monotonic() + timeout
        while (status := self._children.ended(self._pid)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                self.kill()
                raise LaunchFailed(f"the runtime was killed after {timeout:g} s without an end", timed_out=True)
            if self.aborted:
                self.kill()
                raise LaunchFailed("the request was cancelled", aborted=True)
            self._loop.turn(left)
        if status != 0:
            raise LaunchFailed("")
        try:
            with open(pid_file, "rb", buffering=0) as file:
                pid = int(file.read(_MAX_PID_FILE) or b"")
        except (OSError, ValueError):
            raise LaunchFailed(f"the runtime has written no pid into {pid_file}") from None
        if not self._children.is_child(pid):
            raise LaunchFailed(f"the runtime's process {pid} does not belong to it")
        return pid

    def kill(self) -> None:
        """End the runtime and what it has started, if it still runs."""
        if not self._pid or self._children.ended(self._pid) is not None:
            return
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def join_cgroups(directories: Sequence[str]) -> None:
    """Move this process into existing cgroups, one directory per hierarchy."""
    for directory in directories:
        fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"0")
        finally:
            os.close(fd)


def read_error(fd: int, limit: int = 16 * 1024) -> str:
    """What the runtime has written into its stderr until now, at most the last `limit` bytes. Does not wait."""
    os.set_blocking(fd, False)
    text = b""
    for _ in range(64):
        try:
            data = os.read(fd, limit)
        except BlockingIOError:
            break
        if not data:
            break
        text = (text + data)[-limit:]
    return text.decode("utf-8", "replace")


def environment(items: Sequence[str]) -> dict[str, str]:
    """`NAME=value` items as a mapping."""
    return dict(item.split("=", 1) for item in items if "=" in item)
