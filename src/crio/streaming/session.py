"""What SPDY and WebSocket sessions have in common: they end with their work, when the client goes, or when idle."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from crio.streaming.inlet import Sink
from crio.streaming.outlet import ClientGone
from crio.streaming.stream import ByteStream

_FIRST_BUFFER = 1 << 14
_LARGEST_BUFFER = 1 << 18
_LOOK_FOR_CLIENT = 1.0


class Reader:
    """Reads a stream piece by piece into one buffer that grows with what comes. Starts with what was read before."""

    def __init__(self, stream: ByteStream, first: bytes = b"") -> None:
        self._stream = stream
        self._first = first
        self._buffer = memoryview(bytearray(_FIRST_BUFFER))

    async def read(self) -> memoryview:
        """The next bytes, valid until the next call; none at the end. Raises ClientGone."""
        if self._first:
            first, self._first = self._first, b""
            return memoryview(first)
        try:
            size = await self._stream.read_into(self._buffer)
        except OSError as error:
            raise ClientGone(str(error)) from None
        data = self._buffer[:size]
        if size == len(self._buffer) and size < _LARGEST_BUFFER:
            self._buffer = memoryview(bytearray(4 * size))
        return data

    async def wait_room(self, sink: Sink) -> None:
        """Read no further until `sink` takes more. Raises ClientGone if the client leaves meanwhile."""
        while sink.full:
            try:
                async with asyncio.timeout(_LOOK_FOR_CLIENT):
                    await sink.wait_room()
            except TimeoutError:
                # Its end stands behind the data that nobody reads now.
                if self._stream.peer_has_left():
                    raise ClientGone("it left") from None


class Activity:
    """When something moved last."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()

    def touch(self) -> None:
        self._last = self._loop.time()

    async def wait_idle(self, timeout: float) -> None:
        """Wait until nothing has moved for `timeout` seconds; for ever if it is 0."""
        if timeout <= 0:
            await asyncio.get_running_loop().create_future()
        left = timeout
        while left > 0:
            await asyncio.sleep(left)
            left = self._last + timeout - self._loop.time()


async def run_session(
    *,
    read: Coroutine[Any, Any, None],
    write: Coroutine[Any, Any, None],
    idle: Coroutine[Any, Any, None],
    work: Coroutine[Any, Any, None],
) -> None:
    """Run a session's work beside the reader of its client, the writer of control frames, and the idle timer.

    What ends first ends all; the work's end includes that everything was written.
    """
    worker = asyncio.ensure_future(work)
    others = [asyncio.ensure_future(part) for part in (read, write, idle)]
    try:
        await asyncio.wait((worker, *others), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (worker, *others):
            task.cancel()
        results = await asyncio.gather(worker, *others, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, ClientGone):
            raise result
