"""What a client receives: frames in order onto one connection, and descriptors pumped into them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from crio.streaming.stream import Bytes, ByteStream, wait_readable

_FIRST_READ = 1 << 14
_LARGEST_READ = 1 << 18
MAX_UNSENT = 1 << 20
"""Bytes of answers to control frames that a client may leave unread."""


class ClientGone(Exception):
    """The client is not there any more, or broke the protocol."""


class Outlet(Protocol):
    """One stream to the client."""

    async def send(self, data: memoryview) -> None:
        """Returns when `data` may be overwritten. Raises ClientGone."""

    async def end(self) -> None:
        """No more comes. Raises ClientGone."""


class FrameWriter:
    """The writing side of a connection that many streams share: one frame after the other, control frames between.

    `take_control` gives the control frames that wait.
    """

    def __init__(self, stream: ByteStream, take_control: Callable[[], bytes]) -> None:
        self._stream = stream
        self._take_control = take_control
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()

    async def send(self, frame: Callable[[], Sequence[Bytes]]) -> None:
        """Write a frame, which is made when its turn has come. Raises ClientGone."""
        async with self._lock:
            parts = frame()
            await self._write(self._take_control(), *parts)

    async def flush(self) -> None:
        """Write the control frames that wait. Raises ClientGone."""
        async with self._lock:
            await self._write(self._take_control())

    def post(self) -> None:
        """Have the control frames written by `run`, without waiting."""
        self._wanted.set()

    async def run(self) -> None:
        """Write what is posted, until cancelled. Raises ClientGone."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.flush()

    async def _write(self, *parts: Bytes) -> None:
        try:
            await self._stream.write(*parts)
        except OSError as error:
            raise ClientGone(str(error)) from None


async def pump(fd: int, outlet: Outlet, ended: asyncio.Future[int] | None = None, *, grace: float = 0.1) -> None:
    """Send what can be read from `fd` to its end. Raises ClientGone.

    After `ended` is done (the process is gone) a descriptor that others still hold open counts as ended as soon as it
    gave nothing for `grace` seconds.
    """
    buffer = memoryview(bytearray(_FIRST_READ))
    while True:
        try:
            size = os.readv(fd, [buffer])
        except BlockingIOError:
            if not await _wait(fd, ended, grace):
                return
            continue
        except OSError:  # EIO: the other side of a terminal is closed
            return
        if not size:
            return
        await outlet.send(buffer[:size])
        if size == len(buffer) and size < _LARGEST_READ:
            buffer = memoryview(bytearray(4 * size))


async def _wait(fd: int, ended: asyncio.Future[int] | None, grace: float) -> bool:
    """Wait until `fd` may be readable; False if it stayed silent after the end."""
    if ended is None:
        await wait_readable(fd)
        return True
    if ended.done():
        try:
            async with asyncio.timeout(grace):
                await wait_readable(fd)
        except TimeoutError:
            return False
        return True
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake(_: object = None) -> None:
        if not ready.done():
            ready.set_result(None)

    ended.add_done_callback(wake)
    loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
        ended.remove_done_callback(wake)
    return True
