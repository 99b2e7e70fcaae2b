"""Telling which forbidden system calls a container makes, for pods that ask for it by annotation (seccomp_unotify(2)).

The runtime hands a descriptor over on a socket (OCI runtime spec, `listenerPath`); each call that waits on it is
counted and fails with ENOSYS. Some time after the last one the owner is told, who may stop the container. If the daemon
goes, the kernel answers the same.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import select
import socket
from collections import Counter
from collections.abc import Callable

from crio.linux.seccomp import answer_with_errno, receive_notification, syscall_name

log = logging.getLogger(__name__)

QUIET = 5.0
"""Seconds after the last call at which the owner is told."""

_MAX_STATE = 64 << 10
_MAX_FDS = 16
_MAX_NAMES = 1024
_FD_NAME = "seccompFd"


class SeccompNotifier:
    """The forbidden calls of one container. Started before the runtime's create, closed when the container is gone."""

    def __init__(
        self,
        path: str,
        *,
        on_call: Callable[[str], None],
        on_quiet: Callable[[], None],
        quiet: float = QUIET,
    ) -> None:
        """`on_call` gets the name of each call; `on_quiet` is called when there was none for `quiet` seconds."""
        self.calls: Counter[str] = Counter()
        self._path = path
        self._on_call, self._on_quiet, self._quiet = on_call, on_quiet, quiet
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._fds: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen on the socket, which only root may use. Raises OSError."""
        directory = os.path.dirname(self._path)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            # Longer paths than a socket address holds are reached through the directory's descriptor.
            fd = os.open(directory, os.O_PATH | os.O_CLOEXEC)
            try:
                listener.bind(f"/proc/self/fd/{fd}/{os.path.basename(self._path)}")
            finally:
                os.close(fd)
            os.chmod(self._path, 0o600)
            listener.listen(4)
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def close(self) -> None:
        """Stop listening. Calls that wait fail with ENOSYS from then on."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass
        for connection in list(self._connections):
            self._drop(connection)
        for fd in list(self._fds):
            self._forget(fd)

    def summary(self) -> str:
        """The calls with their counts, for ContainerStatus: "mount (2x), unshare (1x)"."""
        return ", ".join(f"{name} ({count}x)" for name, count in sorted(self.calls.items()))

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        self._connections.add(connection)
        asyncio.get_running_loop().add_reader(connection, self._hand_over, connection)

    def _hand_over(self, connection: socket.socket) -> None:
        """One message with the state of the container's process, and its descriptors."""
        try:
            data, fds, _, _ = socket.recv_fds(connection, _MAX_STATE, _MAX_FDS)
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("seccomp notifier %s: %s", self._path, error)
            data, fds = b"", []
        self._drop(connection)
        if not data:
            return
        wanted = _listener_of(data, fds)
        for fd in fds:
            if fd != wanted:
                os.close(fd)
        if wanted is None:
            log.warning("seccomp notifier %s: the runtime sent no descriptor named %s", self._path, _FD_NAME)
            return
        os.set_inheritable(wanted, False)
        self._fds.add(wanted)
        asyncio.get_running_loop().add_reader(wanted, self._notified, wanted)

    def _notified(self, fd: int) -> None:
        try:
            call = receive_notification(fd)
        except OSError as error:
            # ENOENT: the caller was killed, or no process has the filter any more, and the descriptor stays readable.
            if error.errno != errno.ENOENT or _is_orphaned(fd):
                self._forget(fd)
            return
        name = syscall_name(call.number, call.architecture)
        if name in self.calls or len(self.calls) < _MAX_NAMES:
            self.calls[name] += 1
        try:
            answer_with_errno(fd, call.id, errno.ENOSYS)
        except OSError as error:
            if error.errno != errno.ENOENT:
                log.warning("seccomp notifier %s: %s", self._path, error)
        self._on_call(name)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._quiet, self._on_quiet)

    def _drop(self, connection: socket.socket) -> None:
        self._connections.discard(connection)
        asyncio.get_running_loop().remove_reader(connection)
        connection.close()

    def _forget(self, fd: int) -> None:
        self._fds.discard(fd)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)


def _listener_of(data: bytes, fds: list[int]) -> int | None:
    """The notification descriptor among those sent, by the names that the state gives them in order."""
    try:
        names = json.loads(data)["fds"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(names, list) or names.count(_FD_NAME) != 1:
        return None
    index = names.index(_FD_NAME)
    return fds[index] if index < len(fds) else None


def _is_orphaned(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
