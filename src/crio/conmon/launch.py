"""Runs an OCI runtime command that leaves a process behind (`create`, `exec --detach`) and says which process it is."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from crio.conmon.children import status_of
from crio.conmon.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crio.conmon.loop import Loop
    from crio.conmon.packets import Value

_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Ignored in a monitor; that would be inherited by the container."""
_MAX_PID_FILE = 32
_MAX_ERROR = 16 * 1024
CONSOLE_PLACEHOLDER = "{console}"
"""The argument of the runtime in whose place the path of the console socket is put."""


class LaunchFailed(Exception):
    """The runtime did not leave a process behind; `timed_out` if it was killed because it took too long."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.timed_out = timed_out

    def fields(self) -> dict[str, Value]:
        """Of the `failed` packet."""
        return {"message": self.message, "timed_out": self.timed_out}


class Console:
    """The socket on which a runtime hands over a terminal's master side (`--console-socket`)."""

    def __init__(self, loop: Loop, directory: str) -> None:
        self._loop = loop
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        name = f".console.{os.getpid()}"
        # Through /proc, because the directory's own path may be too long for a socket address.
        self.path = f"/proc/{os.getpid()}/fd/{self._directory}/{name}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._sender: socket.socket | None = None
        """The runtime, from its connection, which it makes first of all, to its message."""
        self.master = -1
        old = os.umask(0o177)
        try:
            self._listener.bind(self.path)
        finally:
            os.umask(old)
        self._listener.listen(1)
        loop.add(self._listener.fileno(), READ, self._accept)

    def _accept(self, _events: int = 0) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self._hang_up()
        sock.setblocking(False)
        self._sender = sock
        self._loop.add(sock.fileno(), READ, self._receive)

    def _receive(self, _events: int = 0) -> None:
        """Take the terminal if the runtime has sent it by now."""
        if self._sender is None:
            return
        try:
            _, control, _, _ = self._sender.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            control = []
        self._hang_up()
        for level, kind, payload in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(payload) >= 4:
                if self.master >= 0:
                    os.close(self.master)
                self.master = int.from_bytes(payload[:4], sys.byteorder)

    def _hang_up(self) -> None:
        if self._sender is not None:
            self._loop.remove(self._sender.fileno())
            self._sender.close()
            self._sender = None

    def in_argv(self, argv: Sequence[str]) -> list[str]:
        return [self.path if item == CONSOLE_PLACEHOLDER else item for item in argv]

    def take(self) -> int:
        """End of listening: the terminal's master side, owned by the caller. Raises LaunchFailed if none came."""
        self._receive()
        if self.master < 0:
            self._accept()
            self._receive()
        self.close()
        if self.master < 0:
            raise LaunchFailed("the runtime has sent no terminal")
        return self.master

    def close(self) -> None:
        self._hang_up()
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

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._pid = 0
        self._ended = False
        self.aborted = False

    def spawn(self, argv: list[str], env: Mapping[str, str], stdio: tuple[int, int, int], program: int = -1) -> None:
        """Start the runtime with the three descriptors as its stdio, default signals and a process group of its own.

        `program` is its file if it is not to be opened by its path; the caller's.
        """
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(stdio)]
        try:
            self._pid = os.posix_spawn(
                f"/proc/self/fd/{program}" if program >= 0 else argv[0],
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
        self._watch_end()
        while not self._ended:
            left = deadline - time.monotonic()
            if left <= 0 or self.aborted:
                self.kill()
                break
            self._loop.turn(left)
        status = status_of(self._pid)
        if self.aborted:
            raise LaunchFailed("the request was cancelled")
        if not self._ended:
            raise LaunchFailed(f"the runtime was killed after {timeout:g} s without an end", timed_out=True)
        if status != 0:
            raise LaunchFailed("")
        try:
            with open(pid_file, "rb", buffering=0) as file:
                return int(file.read(_MAX_PID_FILE) or b"")
        except (OSError, ValueError):
            raise LaunchFailed(f"the runtime has written no pid into {pid_file}") from None

    def kill(self) -> None:
        """End the runtime and what it has started, if it still runs."""
        if self._pid and not self._ended:
            try:
                os.killpg(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _watch_end(self) -> None:
        try:
            pidfd = os.pidfd_open(self._pid)
        except ProcessLookupError:
            # So quick that it has been reaped already.
            self._ended = True
            return

        def over(_events: int) -> None:
            self._ended = True
            self._loop.remove(pidfd)
            os.close(pidfd)

        self._loop.add(pidfd, READ, over)


def parent_of(pid: int) -> int:
    """The parent of a process, 0 if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.read(1024).rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def pid_namespace_of(pid: int) -> str:
    """The pid namespace of a process, as /proc names it; "" if it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def join_cgroups(directories: Sequence[str], pid: int) -> None:
    """Move a process into existing cgroups, one directory per hierarchy."""
    for directory in directories:
        fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d" % pid)
        finally:
            os.close(fd)


def read_error(fd: int) -> str:
    """What the runtime has written into its stderr until now, at most the last 16 KiB. Does not wait."""
    os.set_blocking(fd, False)
    text = b""
    for _ in range(64):
        try:
            data = os.read(fd, _MAX_ERROR)
        except BlockingIOError:
            break
        if not data:
            break
        text = (text + data)[-_MAX_ERROR:]
    return text.decode("utf-8", "replace")


def environment(items: Sequence[str]) -> dict[str, str]:
    """`NAME=value` items as a mapping."""
    return dict(item.split("=", 1) for item in items if "=" in item)
