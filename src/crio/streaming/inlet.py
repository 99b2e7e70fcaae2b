"""What a client sends, on its way into a descriptor."""

from __future__ import annotations

import asyncio
import collections
import os
from collections.abc import Callable
from typing import Protocol

from crio.streaming.stream import Bytes

Taken = Callable[[int], None]

LIMIT = 1 << 20
"""Bytes that one stream may have waiting: what flow control grants, so a client that keeps to it never gets there."""
_WRITE = 1 << 16
"""The most that is written at once; an attach socket takes no larger packet."""


class Sink(Protocol):
    """Where one stream from the client goes."""

    @property
    def full(self) -> bool:
        """Whether the client should be read no further until `wait_room` returns."""

    def feed(self, data: Bytes) -> None:
        """Take bytes; they are copied if they must wait."""

    def end(self) -> None:
        """The client sends no more."""

    async def wait_room(self) -> None: ...


class Inlet:
    """A bounded queue whose head goes straight into a descriptor as soon as one is connected.

    `on_taken(n)` is called as bytes leave memory, `on_end` once after the last one when the client has ended. When the
    descriptor takes no more for good (the reader is gone), the rest is dropped, and `on_broken` is called once.
    """

    def __init__(self, on_taken: Taken | None = None) -> None:
        self._on_taken = on_taken
        self._queue: collections.deque[memoryview] = collections.deque()
        self._size = 0
        self._fd = -1
        self._ended = False
        self._dropping = False
        self._armed = False
        self._on_end: Callable[[], None] | None = None
        self._on_broken: Callable[[], None] | None = None
        self._room: asyncio.Event | None = None
        self.moved = 0
        """Bytes that came in all."""

    @property
    def full(self) -> bool:
        return self._size > LIMIT

    async def wait_room(self) -> None:
        """Wait until less than the limit is waiting."""
        while self.full:
            self._room = self._room or asyncio.Event()
            self._room.clear()
            await self._room.wait()

    def connect(
        self, fd: int, *, on_end: Callable[[], None] | None = None, on_broken: Callable[[], None] | None = None
    ) -> None:
        """Write what came and comes into `fd`, which stays the caller's: `disconnect` before it is closed."""
        self._fd, self._on_end, self._on_broken = fd, on_end, on_broken
        self._drain()

    def disconnect(self) -> None:
        """Write nothing more, and drop what comes."""
        self._disarm()
        self._fd = -1
        self._on_end = self._on_broken = None
        self.discard()

    def discard(self) -> None:
        """Nobody wants what comes: take it and forget it."""
        self._dropping = True
        self._disarm()
        self._queue.clear()
        self._taken(self._size)

    def feed(self, data: Bytes) -> None:
        """Take bytes from the client; they are copied if they cannot be written at once."""
        self.moved += len(data)
        if self._dropping or self._ended:
            self._give_back(len(data))
            return
        view = memoryview(data)
        if self._fd >= 0 and not self._queue:
            written = self._write(view)
            self._give_back(written)
            view = view[written:]
        if len(view) and not self._dropping:
            self._queue.append(memoryview(bytes(view)))
            self._size += len(view)
            self._arm()
        elif len(view):
            self._give_back(len(view))

    def end(self) -> None:
        """The client sends no more."""
        if not self._ended:
            self._ended = True
            self._finish()

    def _finish(self) -> None:
        if self._ended and not self._queue and self._fd >= 0 and self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end()

    def _write(self, view: memoryview) -> int:
        """How much of `view` the descriptor took."""
        written = 0
        try:
            while written < len(view):
                written += os.write(self._fd, view[written : written + _WRITE])
        except BlockingIOError:
            pass
        except OSError:
            self._disarm()
            on_broken, self._on_broken = self._on_broken, None
            self.discard()
            if on_broken is not None:
                on_broken()
        return written

    def _drain(self) -> None:
        while self._queue and self._fd >= 0:
            view = self._queue[0]
            written = self._write(view)
            if self._dropping:
                return
            if written < len(view):
                self._queue[0] = view[written:]
                self._taken(written)
                self._arm()
                return
            self._queue.popleft()
            self._taken(written)
        self._disarm()
        self._finish()

    def _taken(self, size: int) -> None:
        self._size -= size
        self._give_back(size)
        if self._room is not None and not self.full:
            self._room.set()

    def _give_back(self, size: int) -> None:
        if size and self._on_taken is not None:
            self._on_taken(size)

    def _arm(self) -> None:
        if not self._armed and self._fd >= 0:
            self._armed = True
            asyncio.get_running_loop().add_writer(self._fd, self._drain)

    def _disarm(self) -> None:
        if self._armed:
            self._armed = False
            asyncio.get_running_loop().remove_writer(self._fd)
