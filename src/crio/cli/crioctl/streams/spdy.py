"""A SPDY connection as a client: its streams, and the channels of exec and attach on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from crio.base.errors import Unavailable
from crio.cli.crioctl.streams.pipe import BytePipe, Tls, upgrade
from crio.wire import remotecommand, spdy
from crio.wire.spdy import DataReceived, GoingAway, ResetCode, SpdyConnection, SpdyError, StreamReset, WindowOpened

MAX_UNREAD = 4 << 20
"""Bytes that wait for a stream's reader before the whole connection is read no further."""


class Stream:
    """One stream that we opened."""

    def __init__(self, link: SpdyLink, stream_id: int) -> None:
        self._link, self.id = link, stream_id
        self.received = bytearray()
        self.ended = False
        self.reset_by_peer = False
        self.changed = asyncio.Event()

    async def read(self) -> bytes:
        """What came; b"" at the end."""
        while not self.received and not self.ended:
            self.changed.clear()
            await self.changed.wait()
        data = bytes(self.received)
        self.received.clear()
        if data:
            await self._link.consumed(self.id, len(data))
        return data

    async def send(self, data: bytes) -> None:
        await self._link.send(self.id, data)

    async def end(self) -> None:
        """Half-close."""
        await self._link.end(self.id)

    async def reset(self) -> None:
        await self._link.reset(self.id)


class SpdyLink:
    """The connection. `run` must run beside its users; when it ends, every stream has ended."""

    def __init__(self, pipe: BytePipe) -> None:
        self._pipe = pipe
        self._spdy = SpdyConnection(client=True, limits=spdy.Limits(window=MAX_UNREAD))
        self._streams: dict[int, Stream] = {}
        self._windows = asyncio.Event()
        self._room = asyncio.Event()
        self._writing = asyncio.Lock()
        self.ended = False

    @classmethod
    async def open_upgraded(cls, url: str, protocols: list[str], tls: Tls) -> tuple[SpdyLink, str]:
        """Upgrade an HTTP connection; the protocol that the server chose is returned too. Raises Refused."""
        headers = [("Connection", "Upgrade"), ("Upgrade", remotecommand.SPDY)]
        headers += [(remotecommand.VERSION_HEADER, protocol) for protocol in protocols]
        pipe, _, answered = await upgrade(url, "POST", headers, tls)
        return cls(pipe), answered.get(remotecommand.VERSION_HEADER)

    async def open(self, headers: Mapping[str, str], *, fin: bool = False) -> Stream:
        """A new stream; `fin` if nothing will be sent on it."""
        if self.ended:
            raise Unavailable("cannot open a stream: the connection has ended")
        stream_id = self._spdy.open_stream(headers, fin=fin)
        stream = self._streams[stream_id] = Stream(self, stream_id)
        await self._flush()
        return stream

    async def run(self) -> None:
        """Read until the connection ends."""
        try:
            while data := await self._pipe.read():
                for event in self._spdy.feed(data):
                    self._handle(event)
                await self._flush()
                while any(len(stream.received) > MAX_UNREAD for stream in self._streams.values()):
                    self._room.clear()
                    await self._room.wait()
        except SpdyError as error:
            raise Unavailable(f"cannot go on with the stream: {error}") from None
        finally:
            self.ended = True
            self._windows.set()
            for stream in list(self._streams.values()):
                stream.ended = True
                stream.changed.set()

    def _handle(self, event: spdy.Event) -> None:
        match event:
            case DataReceived(stream_id, data, fin):
                stream = self._streams.get(stream_id)
                if stream is not None:
                    stream.received += data
                    stream.ended = stream.ended or fin
                    stream.changed.set()
            case StreamReset(stream_id, _):
                stream = self._streams.get(stream_id)
                if stream is not None:
                    stream.ended = stream.reset_by_peer = True
                    stream.changed.set()
                self._windows.set()
            case WindowOpened() | GoingAway():
                self._windows.set()
            case _:
                fin = getattr(event, "fin", False)
                stream = self._streams.get(getattr(event, "stream_id", 0))
                if fin and stream is not None:
                    stream.ended = True
                    stream.changed.set()

    async def send(self, stream_id: int, data: bytes) -> None:
        """Send within the peer's window. Raises Unavailable when stream or connection have ended."""
        rest = memoryview(data)
        while rest:
            size = min(self._spdy.window(stream_id), len(rest), 1 << 16)
            if size:
                async with self._writing:
                    header = self._spdy.take_output() + self._spdy.data_header(stream_id, size)
                    await self._pipe.write(header + rest[:size])
                rest = rest[size:]
            elif self.ended or not self._spdy.is_open(stream_id):
                raise Unavailable("cannot send: the stream has ended")
            else:
                self._windows.clear()
                await self._windows.wait()

    async def end(self, stream_id: int) -> None:
        self._spdy.end(stream_id)
        await self._flush()

    async def reset(self, stream_id: int) -> None:
        self._spdy.reset(stream_id, ResetCode.CANCEL)
        self.forget(stream_id)
        await self._flush()

    def forget(self, stream_id: int) -> None:
        """The stream is no longer of interest."""
        self._streams.pop(stream_id, None)
        self._room.set()

    async def consumed(self, stream_id: int, size: int) -> None:
        self._spdy.consume(stream_id, size)
        self._room.set()
        await self._flush()

    async def _flush(self) -> None:
        if self._spdy.pending:
            async with self._writing:
                if output := self._spdy.take_output():
                    try:
                        await self._pipe.write(output)
                    except Unavailable:
                        self.ended = True

    async def close(self) -> None:
        self._spdy.go_away()
        await self._flush()
        await self._pipe.close()


_NAMES = {
    remotecommand.ERROR: "error",
    remotecommand.STDIN: "stdin",
    remotecommand.STDOUT: "stdout",
    remotecommand.STDERR: "stderr",
    remotecommand.RESIZE: "resize",
}


class SpdyChannels:
    """The channels of exec and attach as SPDY streams."""

    def __init__(self, link: SpdyLink, version: int, streams: Mapping[int, Stream]) -> None:
        self._link, self.version, self._streams = link, version, streams
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, url: str, tls: Tls, *, stdin: bool, stderr: bool, tty: bool) -> SpdyChannels:
        """Raises Refused if the server does not speak SPDY here, Unavailable."""
        link, protocol = await SpdyLink.open_upgraded(url, list(remotecommand.EXEC_SPDY), tls)
        version = remotecommand.EXEC_SPDY.get(protocol, 1)
        wanted = [remotecommand.ERROR]
        wanted += [remotecommand.STDIN] * stdin + [remotecommand.STDOUT] + [remotecommand.STDERR] * stderr
        wanted += [remotecommand.RESIZE] * (tty and version >= 3)
        streams = {
            channel: await link.open({remotecommand.STREAM_TYPE: _NAMES[channel]}, fin=False) for channel in wanted
        }
        return cls(link, version, streams)

    async def send(self, channel: int, data: bytes) -> None:
        if channel in self._streams:
            await self._streams[channel].send(data)

    async def end(self, channel: int) -> None:
        if channel in self._streams:
            await self._streams[channel].end()

    async def received(self) -> AsyncIterator[tuple[int, bytes]]:
        """Pairs of channel and data until all streams have ended; the error channel's come after all output."""
        queue: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(16)
        outputs = [channel for channel in self._streams if channel in (remotecommand.STDOUT, remotecommand.STDERR)]

        async def read(channel: int) -> None:
            while data := await self._streams[channel].read():
                await queue.put((channel, data))
            await queue.put(None)

        self._tasks = [
            asyncio.ensure_future(self._link.run()),
            *(asyncio.ensure_future(read(each)) for each in outputs),
        ]
        left = len(outputs)
        while left:
            item = await queue.get()
            if item is None:
                left -= 1
            else:
                yield item
        while data := await self._streams[remotecommand.ERROR].read():
            yield remotecommand.ERROR, data

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.close()
