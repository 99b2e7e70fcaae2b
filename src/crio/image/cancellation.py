"""Ending blocking work in threads: a flag that threads look at, and sockets that are shut under them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from crio.base.errors import Cancelled


class Cancellation:
    """One per pull. `cancel` may be called from any thread, and more than once; the first reason counts."""

    def __init__(self, what: str = "the pull") -> None:
        self._what = what
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._children: set[Cancellation] = set()
        self._reason = ""

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def cancel(self, reason: str) -> None:
        with self._lock:
            if self._event.is_set():
                return
            self._reason = reason
            self._event.set()
            for open_socket in self._sockets:
                _shut(open_socket)
            children = list(self._children)
        for child in children:
            child.cancel(reason)

    @contextlib.contextmanager
    def part(self) -> Iterator[Cancellation]:
        """A part of the work that can be cancelled without the whole, but not the other way round."""
        child = Cancellation(self._what)
        with self._lock:
            self._children.add(child)
        if self.cancelled:
            child.cancel(self._reason)
        try:
            yield child
        finally:
            with self._lock:
                self._children.discard(child)

    def check(self) -> None:
        """Raises Cancelled once `cancel` was called."""
        if self._event.is_set():
            raise Cancelled(f"cannot finish {self._what}: {self._reason}")

    def sleep(self, seconds: float) -> None:
        """Waits, and raises Cancelled as soon as `cancel` is called."""
        self._event.wait(seconds)
        self.check()

    def attach(self, open_socket: socket.socket) -> None:
        """Have this socket shut when `cancel` is called, so that a thread blocked in it wakes."""
        with self._lock:
            self._sockets.add(open_socket)
            if self._event.is_set():
                _shut(open_socket)

    def detach(self, open_socket: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(open_socket)


def _shut(open_socket: socket.socket) -> None:
    try:
        # The base class's: that of an SSL socket would also throw its state away under the reading thread.
        socket.socket.shutdown(open_socket, socket.SHUT_RDWR)
    except OSError:
        pass
