"""Byte streams to clients: a socket as it is, or with TLS, without asyncio's transports between.

Buffers belong to the caller and are used again and again; a write returns when the kernel has taken all of it, which is
the back-pressure that everything above relies on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

Bytes = bytes | bytearray | memoryview

_TLS_CHUNK = 1 << 17
_ESTABLISHED = 1


class ByteStream(Protocol):
    """One reader and one writer at a time."""

    async def read_into(self, buffer: memoryview) -> int:
        """Wait for bytes and return how many came; 0 at the end. Raises OSError."""

    async def write(self, *parts: Bytes) -> None:
        """Write all parts. Raises OSError. What a cancelled call did not write is kept, and the next call writes it
        first: a frame that was begun is finished whatever happens to who sent it."""

    async def write_end(self) -> None:
        """Tell the peer that no more comes."""

    def peer_has_left(self) -> bool:
        """Whether the peer has closed, also while data that it sent before is unread."""

    def close(self) -> None: ...


async def wait_readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    await _ready(fd, loop.add_reader, loop.remove_reader)


async def wait_writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    await _ready(fd, loop.add_writer, loop.remove_writer)


async def _ready(fd: int, add: Callable[..., object], remove: Callable[[int], object]) -> None:
    ready = asyncio.get_running_loop().create_future()
    add(fd, _set, ready)
    try:
        await ready
    finally:
        remove(fd)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class PlainStream:
    """A connected non-blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._unsent: list[bytes] = []

    async def read_into(self, buffer: memoryview) -> int:
        while True:
            try:
                return self._socket.recv_into(buffer)
            except BlockingIOError:
                await wait_readable(self._socket.fileno())

    async def write(self, *parts: Bytes) -> None:
        views = [memoryview(part) for part in (*self._unsent, *parts) if len(part)]
        self._unsent = []
        while views:
            try:
                sent = self._socket.sendmsg(views)
            except BlockingIOError:
                try:
                    await wait_writable(self._socket.fileno())
                except asyncio.CancelledError:
                    self._unsent = [bytes(view) for view in views]
                    raise
                continue
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if sent:
                views[0] = views[0][sent:]

    async def write_end(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def peer_has_left(self) -> bool:
        return self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED

    def close(self) -> None:
        self._socket.close()


class TlsStream:
    """TLS on a `PlainStream`. `handshake` comes first."""

    def __init__(self, stream: PlainStream, context: ssl.SSLContext) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._buffer = memoryview(bytearray(_TLS_CHUNK))
        self._sending = asyncio.Lock()
        self._unsent: list[bytes] = []

    async def handshake(self) -> None:
        """Raises ssl.SSLError (an OSError) if the client cannot be served."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    raise ConnectionResetError("the client left during the TLS handshake") from None
            except ssl.SSLError:
                await self._flush()  # the alert tells the client why
                raise
        await self._flush()

    async def read_into(self, buffer: memoryview) -> int:
        while True:
            try:
                return self._tls.read(len(buffer), buffer)  # type: ignore[return-value]
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    await self._flush()
                if not await self._fill():
                    return 0
            except ssl.SSLZeroReturnError:
                return 0

    async def write(self, *parts: Bytes) -> None:
        views = [memoryview(part) for part in (*self._unsent, *parts) if len(part)]
        self._unsent = []
        try:
            while views:
                views[0] = views[0][self._tls.write(views[0][:_TLS_CHUNK]) :]
                if not views[0]:
                    del views[0]
                if self._outgoing.pending >= _TLS_CHUNK:
                    await self._flush()
            await self._flush()
        except asyncio.CancelledError:
            self._unsent = [bytes(view) for view in views]
            raise

    async def write_end(self) -> None:
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            await self._flush()
        await self._stream.write_end()

    def peer_has_left(self) -> bool:
        return self._stream.peer_has_left()

    def close(self) -> None:
        self._stream.close()

    async def _fill(self) -> int:
        size = await self._stream.read_into(self._buffer)
        if size:
            self._incoming.write(self._buffer[:size])
        return size

    async def _flush(self) -> None:
        async with self._sending:
            await self._stream.write(self._outgoing.read())
