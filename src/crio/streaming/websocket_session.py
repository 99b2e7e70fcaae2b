"""A client's WebSocket: numbered channels as sinks and outlets, or one byte stream for a tunnelled SPDY connection."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from crio.streaming.inlet import Sink
from crio.streaming.outlet import MAX_UNSENT, ClientGone, FrameWriter
from crio.streaming.session import Activity, Reader, run_session
from crio.streaming.stream import Bytes, ByteStream
from crio.wire import websocket
from crio.wire.remotecommand import CLOSE_CHANNEL, WebSocketProtocol
from crio.wire.websocket import BINARY, TEXT, Closed, MessagePart, WebSocketConnection, WebSocketError

log = logging.getLogger(__name__)

_MAX_TEXT = 1 << 20
"""Bytes of a base64 message: it is decoded as a whole."""


class _Connection:
    """Reads and writes frames; what SPDY in a tunnel and channels share."""

    def __init__(self, stream: ByteStream, first: bytes, max_message: int | None = None) -> None:
        self.frames = WebSocketConnection(client=False, max_message=max_message)
        self.writer = FrameWriter(stream, self.frames.take_output)
        self._stream = stream
        self._reader = Reader(stream, first)

    async def read(self) -> list[MessagePart] | None:
        """The next pieces of messages; None at the end. Raises ClientGone."""
        data = await self._reader.read()
        if not data:
            return None
        try:
            events = self.frames.feed(data)
        except WebSocketError as error:
            log.warning("stream closed: %s", error)
            await self.writer.flush()
            raise ClientGone(str(error)) from None
        if self.frames.pending > MAX_UNSENT:
            raise ClientGone("it sends and does not read")
        if self.frames.pending:
            self.writer.post()
        if any(isinstance(event, Closed) for event in events):
            await self.writer.flush()
            return None
        return [event for event in events if isinstance(event, MessagePart)]

    async def wait_room(self, sink: Sink) -> None:
        await self._reader.wait_room(sink)

    async def finish(self) -> None:
        self.frames.close(websocket.NORMAL)
        await self.writer.flush()
        await self._stream.write_end()


class _ChannelOutlet:
    def __init__(self, session: WebSocketSession, channel: int) -> None:
        self._session = session
        self._channel = channel

    async def send(self, data: memoryview) -> None:
        await self._session.send(self._channel, data)

    async def end(self) -> None:
        """These protocols have no half-close towards the client: it sees the end of the connection."""


class WebSocketSession:
    """Channels. `sinks` says by number where what comes on a channel goes; other channels are ignored."""

    def __init__(
        self,
        stream: ByteStream,
        first: bytes,
        protocol: WebSocketProtocol,
        *,
        idle_timeout: float,
    ) -> None:
        self._protocol = protocol
        self._connection = _Connection(stream, first, _MAX_TEXT if protocol.base64 else None)
        self._idle_timeout = idle_timeout
        self._activity = Activity()
        self._sink: Sink | None = None
        self._closing = False
        self._text = bytearray()
        self.sinks: dict[int, Sink] = {}

    def outlet(self, channel: int) -> _ChannelOutlet:
        return _ChannelOutlet(self, channel)

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Serve the client while `work` runs: its leaving cancels the work, the work's end closes the connection."""
        await run_session(
            read=self._read(),
            write=self._connection.writer.run(),
            idle=self._activity.wait_idle(self._idle_timeout),
            work=self._finish(work),
        )

    async def send(self, channel: int, data: Bytes) -> None:
        """Send a message on a channel. Raises ClientGone."""
        self._activity.touch()
        frames = self._connection.frames
        if self._protocol.base64:
            text = chr(ord("0") + channel).encode() + base64.b64encode(data)
            await self._connection.writer.send(lambda: (frames.header(TEXT, len(text)), text))
        else:
            head = bytes((channel,))
            await self._connection.writer.send(lambda: (frames.header(BINARY, 1 + len(data)) + head, data))

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        await self._connection.finish()

    async def _read(self) -> None:
        while (parts := await self._connection.read()) is not None:
            self._activity.touch()
            full: Sink | None = None
            for part in parts:
                sink = self._text_received(part) if self._protocol.base64 else self._binary_received(part)
                if sink is not None and sink.full:
                    full = sink
            if full is not None:
                await self._connection.wait_room(full)

    def _binary_received(self, part: MessagePart) -> Sink | None:
        data = memoryview(part.data)
        if part.first:
            self._sink, self._closing = None, False
        if self._sink is None and data:
            # The first byte of a message is its channel; it may come later than the message's first piece.
            if self._closing:
                self._close_channel(data[0])
                return None
            if data[0] == CLOSE_CHANNEL and self._protocol.version >= 5:
                self._closing = True
                if len(data) > 1:
                    self._close_channel(data[1])
                return None
            self._sink = self.sinks.get(data[0], _NOWHERE)
            data = data[1:]
        if self._sink is not None and data:
            self._sink.feed(data)
        return self._sink

    def _close_channel(self, channel: int) -> None:
        self._sink = _NOWHERE
        if (sink := self.sinks.get(channel)) is not None:
            sink.end()

    def _text_received(self, part: MessagePart) -> Sink | None:
        self._text += part.data
        if not part.last:
            return None
        message, self._text = bytes(self._text), bytearray()
        sink = self.sinks.get(message[0] - ord("0")) if message else None
        if sink is None:
            return None
        try:
            sink.feed(base64.b64decode(message[1:], validate=True))
        except binascii.Error:
            raise ClientGone("its message is not base64") from None
        return sink


class _Nowhere:
    full = False

    def feed(self, data: Bytes) -> None: ...

    def end(self) -> None: ...

    async def wait_room(self) -> None: ...


_NOWHERE = _Nowhere()


class TunnelStream:
    """A byte stream in the binary messages of a WebSocket: what is written together becomes one message."""

    def __init__(self, stream: ByteStream, first: bytes) -> None:
        self._stream = stream
        self._connection = _Connection(stream, first)
        self._waiting: list[memoryview] = []
        self._unsent = b""

    async def read_into(self, buffer: memoryview) -> int:
        while not self._waiting:
            try:
                parts = await self._connection.read()
                if parts is None:
                    return 0
                if self._connection.frames.pending:
                    await self._connection.writer.flush()
            except ClientGone as error:
                raise ConnectionResetError(str(error)) from None
            self._waiting = [memoryview(part.data) for part in parts if part.data]
        piece = self._waiting[0]
        size = min(len(piece), len(buffer))
        buffer[:size] = piece[:size]
        if size < len(piece):
            self._waiting[0] = piece[size:]
        else:
            self._waiting.pop(0)
        return size

    async def write(self, *parts: Bytes) -> None:
        if self._unsent:
            parts = (self._unsent, *parts)
            self._unsent = b""
        size = sum(len(part) for part in parts)
        begun = False

        def frame() -> Sequence[Bytes]:
            nonlocal begun
            begun = True
            return (self._connection.frames.header(BINARY, size), *parts) if size else ()

        try:
            await self._connection.writer.send(frame)
        except ClientGone as error:
            raise ConnectionResetError(str(error)) from None
        except asyncio.CancelledError:
            if not begun:
                self._unsent = b"".join(parts)
            raise

    async def write_end(self) -> None:
        try:
            await self._connection.finish()
        except ClientGone:
            pass

    def peer_has_left(self) -> bool:
        return self._stream.peer_has_left()

    def close(self) -> None:
        self._stream.close()
