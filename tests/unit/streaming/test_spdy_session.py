from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from crio.streaming.outlet import ClientGone
from crio.streaming.spdy_session import SpdySession, SpdyStream
from crio.streaming.stream import Bytes, PlainStream
from crio.wire.spdy import ResetCode, SpdyConnection
from streaming_bed import SpdyClient


class Link:
    """A session on one end of a socket, a client on the other."""

    def __init__(self) -> None:
        self.streams: list[SpdyStream] = []
        self.opened = asyncio.Event()
        self.finish = asyncio.Event()

    async def __aenter__(self) -> Link:
        near, far = socket.socketpair()
        near.setblocking(False)
        self.stream = PlainStream(near)
        self.session = SpdySession(self.stream, b"", idle_timeout=60)
        reader, writer = await asyncio.open_connection(sock=far)
        self.client = SpdyClient(reader, writer, keeps_windows=True)
        self.running = asyncio.create_task(self.session.run(self.take, self.work()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.stream.close()
        self.client.writer.close()

    async def work(self) -> None:
        await self.finish.wait()

    def take(self, stream: SpdyStream) -> None:
        self.streams.append(stream)
        self.opened.set()

    async def open(self) -> SpdyStream:
        self.opened.clear()
        self.client.open("data")
        await self.opened.wait()
        return self.streams[-1]


async def test_end_of_the_work_says_goodbye() -> None:
    async with Link() as link:
        stream = await link.open()
        await stream.send(memoryview(b"abc"))
        await stream.end()
        link.finish.set()
        await link.client.read_until_closed()
        assert link.client.received[stream.id] == b"abc"
        assert type(link.client.events[-1]).__name__ == "GoingAway"
        await link.running


async def test_sender_waits_for_the_window_and_ends_with_a_reset() -> None:
    async with Link() as link:
        link.client.keeps_windows = False  # its windows were announced, and are not given back
        stream = await link.open()
        reset: list[bool] = []
        stream.on_reset = lambda: reset.append(True)
        sending = asyncio.create_task(stream.send(memoryview(bytes(3 << 20))))
        received = await link.client.read_bytes(stream.id, 1 << 20)
        assert len(received) == 1 << 20
        assert not sending.done()
        link.client.reset(stream.id)
        with pytest.raises(ClientGone):
            await asyncio.wait_for(sending, 60)
        assert reset == [True]


async def test_forgotten_stream_is_reset_and_its_late_data_dropped() -> None:
    async with Link() as link:
        stream = await link.open()
        stream.forget()
        other = await link.open()
        link.client.send(stream.id, bytes(100_000))
        await other.send(memoryview(b"on"))
        await link.client.read_bytes(other.id, 2)
        assert link.client.resets == {stream.id: ResetCode.CANCEL}
        assert stream.inlet.moved == 0


async def test_client_that_leaves_ends_the_session() -> None:
    async with Link() as link:
        await link.open()
        link.client.writer.close()
        await asyncio.wait_for(link.running, 60)


class Gate:
    """A stream that can be kept from writing; `incoming` comes from the client."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()
        self.blocked = asyncio.Event()

    async def read_into(self, buffer: memoryview) -> int:
        data = await self.incoming.get()
        buffer[: len(data)] = data
        return len(data)

    async def write(self, *parts: Bytes) -> None:
        if any(len(part) for part in parts) and not self.open.is_set():
            self.blocked.set()
            await self.open.wait()

    async def write_end(self) -> None: ...

    def peer_has_left(self) -> bool:
        return False

    def close(self) -> None: ...


async def test_window_that_opens_while_control_frames_are_written_is_seen() -> None:
    gate, client = Gate(), SpdyConnection(client=True)
    session = SpdySession(gate, b"", idle_timeout=60)
    streams: asyncio.Queue[SpdyStream] = asyncio.Queue()

    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    running = asyncio.create_task(session.run(streams.put_nowait, forever()))

    async def opened() -> SpdyStream:
        client.open_stream({"streamtype": "data"})
        gate.incoming.put_nowait(client.take_output())
        return await streams.get()

    stream, other = await opened(), await opened()
    await stream.send(memoryview(bytes(1 << 20)))
    for _ in range(10):
        await asyncio.sleep(0)  # what is posted is written, so that nobody else is writing
    gate.open.clear()
    sending = asyncio.create_task(stream.send(memoryview(b"x")))
    other.reset()
    await gate.blocked.wait()
    for stream_id in (0, stream.id):
        gate.incoming.put_nowait(struct.pack(">HHIII", 0x8003, 9, 8, stream_id, 1000))
    await opened()
    gate.open.set()
    await asyncio.wait_for(sending, 60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
