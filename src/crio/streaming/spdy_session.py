"""A client's SPDY connection: its streams as sinks for what comes and outlets for what goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from crio.streaming.inlet import Inlet, Sink
from crio.streaming.outlet import MAX_UNSENT, ClientGone, FrameWriter
from crio.streaming.session import Activity, Reader, run_session
from crio.streaming.stream import Bytes, ByteStream
from crio.wire.spdy import DataReceived, ResetCode, SpdyConnection, SpdyError, StreamOpened, StreamReset, WindowOpened

log = logging.getLogger(__name__)


class SpdyStream:
    """One stream that the client opened."""

    def __init__(self, session: SpdySession, stream_id: int, headers: Mapping[str, str]) -> None:
        self._session = session
        self.id = stream_id
        self.headers = headers
        self.inlet = Inlet(self.taken)
        self.sink: Sink = self.inlet
        """Where its data goes: the inlet, unless something else is put here when it opens."""
        self.on_reset: Callable[[], None] | None = None
        """Is called when the client resets the stream."""

    def taken(self, size: int) -> None:
        """Data of the stream no longer occupies memory."""
        self._session.taken(self.id, size)

    async def send(self, data: memoryview) -> None:
        while data:
            sent = await self._session.send(self.id, data)
            data = data[sent:]

    async def end(self) -> None:
        await self._session.end(self.id)

    def reset(self, code: ResetCode = ResetCode.CANCEL) -> None:
        self._session.reset(self.id, code)

    def forget(self) -> None:
        """Both sides are done with it."""
        self.inlet.disconnect()
        self._session.reset(self.id, ResetCode.CANCEL)


class SpdySession:
    """The connection. `first` are bytes of it that were read already."""

    def __init__(self, stream: ByteStream, first: bytes, *, idle_timeout: float) -> None:
        self._spdy = SpdyConnection(client=False)
        self._stream = stream
        self._reader = Reader(stream, first)
        self._writer = FrameWriter(stream, self._spdy.take_output)
        self._idle_timeout = idle_timeout
        self._activity = Activity()
        self._streams: dict[int, SpdyStream] = {}
        self._window_opened = asyncio.Event()

    async def run(self, on_open: Callable[[SpdyStream], None], work: Coroutine[Any, Any, None]) -> None:
        """Serve the client while `work` runs: its leaving cancels the work, the work's end closes the connection.

        `on_open` is called with each stream as it opens. It is accepted then, unless `on_open` resets it.
        """
        self._writer.post()
        await run_session(
            read=self._read(on_open),
            write=self._writer.run(),
            idle=self._activity.wait_idle(self._idle_timeout),
            work=self._finish(work),
        )

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        self._spdy.go_away()
        await self._writer.flush()
        await self._stream.write_end()

    # -- called by streams

    def taken(self, stream_id: int, size: int) -> None:
        self._spdy.consume(stream_id, size)
        if self._spdy.pending:
            self._writer.post()

    async def send(self, stream_id: int, data: memoryview) -> int:
        """How much of `data` was sent, perhaps nothing after waiting for the window."""
        size = 0

        def frame() -> Sequence[Bytes]:
            nonlocal size
            size = min(self._spdy.window(stream_id), len(data))
            return (self._spdy.data_header(stream_id, size), data[:size]) if size else ()

        await self._writer.send(frame)
        if size:
            self._activity.touch()
        elif not self._spdy.is_open(stream_id):
            raise ClientGone("it reset the stream")
        elif not self._spdy.window(stream_id):
            # Looked at again, because it may have opened while control frames were written.
            self._window_opened.clear()
            await self._window_opened.wait()
        return size

    async def end(self, stream_id: int) -> None:
        self._spdy.end(stream_id)
        await self._writer.flush()

    def reset(self, stream_id: int, code: ResetCode) -> None:
        self._streams.pop(stream_id, None)
        self._spdy.reset(stream_id, code)
        self._writer.post()

    # -- the reader

    async def _read(self, on_open: Callable[[SpdyStream], None]) -> None:
        while data := await self._reader.read():
            self._activity.touch()
            try:
                events = self._spdy.feed(data)
            except SpdyError as error:
                log.warning("stream closed: %s", error)
                await self._writer.flush()
                raise ClientGone(str(error)) from None
            full: Sink | None = None
            for event in events:
                match event:
                    case DataReceived(stream_id, piece, fin):
                        full = self._data_received(stream_id, piece, fin) or full
                    case StreamOpened():
                        self._stream_opened(event, on_open)
                    case StreamReset(stream_id, _):
                        self._stream_reset(stream_id)
                    case WindowOpened():
                        self._window_opened.set()
                    case _:
                        pass  # a client that says GOAWAY closes when its streams have ended
            if self._spdy.pending > MAX_UNSENT:
                raise ClientGone("it sends and does not read")
            self._writer.post()
            if full is not None:
                await self._reader.wait_room(full)

    def _data_received(self, stream_id: int, data: memoryview, fin: bool) -> Sink | None:
        """The stream's sink if it can take no more."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self._spdy.consume(stream_id, len(data))
            return None
        sink = stream.sink
        if data:
            sink.feed(data)
        if fin:
            sink.end()
        return sink if sink.full else None

    def _stream_opened(self, event: StreamOpened, on_open: Callable[[SpdyStream], None]) -> None:
        stream = self._streams[event.stream_id] = SpdyStream(self, event.stream_id, event.headers)
        on_open(stream)
        self._spdy.reply(event.stream_id)
        if event.fin:
            stream.sink.end()

    def _stream_reset(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        self._window_opened.set()
        if stream is not None:
            stream.inlet.discard()
            # A command that reads it waits for its end.
            stream.sink.end()
            if stream.on_reset is not None:
                stream.on_reset()
