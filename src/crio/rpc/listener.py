"""Accepts connections, and survives running out of descriptors."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

_AT_ONCE = 64
_RETRY = 1.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """Calls `on_accept` with each new connection of a listening socket, non-blocking, until `close`."""

    def __init__(self, name: str, sock: socket.socket, on_accept: Callable[[socket.socket], None]) -> None:
        self._name = name
        self._socket = sock
        self._on_accept = on_accept
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept nothing more, and close the socket. May be called again."""
        if self._socket.fileno() < 0:
            return
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _listen(self) -> None:
        self._retry = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # this one client has gone already
                # The kernel would report the waiting connection again at once, and for ever.
                log.warning("%s: cannot accept connections for a moment: %s", self._name, error.strerror)
                self._loop.remove_reader(self._socket.fileno())
                self._retry = self._loop.call_later(_RETRY, self._listen)
                return
            connection.setblocking(False)
            self._on_accept(connection)
