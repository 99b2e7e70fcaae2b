from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from crio.streaming.stream import Bytes, PlainStream
from crio.streaming.websocket_session import WebSocketSession
from crio.wire.remotecommand import WebSocketProtocol
from crio.wire.websocket import BINARY, TEXT
from streaming_bed import WebSocketClient

MASK = bytes(4)


class Collected:
    full = False

    def __init__(self) -> None:
        self.data = b""
        self.ends = 0

    def feed(self, data: Bytes) -> None:
        self.data += data

    def end(self) -> None:
        self.ends += 1

    async def wait_room(self) -> None: ...


class Link:
    def __init__(self, version: int, *, base64: bool = False) -> None:
        self.protocol = WebSocketProtocol(version, base64)
        self.finish = asyncio.Event()

    async def __aenter__(self) -> Link:
        near, far = socket.socketpair()
        near.setblocking(False)
        self.stream = PlainStream(near)
        self.session = WebSocketSession(self.stream, b"", self.protocol, idle_timeout=60)
        reader, writer = await asyncio.open_connection(sock=far)
        self.client = WebSocketClient(reader, writer, base64_text=self.protocol.base64)
        self.sinks = [Collected(), Collected()]
        self.session.sinks = dict(enumerate(self.sinks))
        self.running = asyncio.create_task(self.session.run(self.work()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.stream.close()
        self.client.writer.close()

    async def work(self) -> None:
        await self.finish.wait()

    def frame(self, first: int, data: bytes) -> None:
        self.client.writer.write(bytes((first, 0x80 | len(data))) + MASK + data)

    async def settle(self) -> None:
        """A ping that comes back shows that everything before it was taken."""
        self.client.connection.ping(b"settle")
        self.client.writer.write(self.client.connection.take_output())
        await asyncio.wait_for(self.client.reader.readuntil(b"settle"), 60)


async def test_channel_byte_may_come_in_any_fragment() -> None:
    async with Link(4) as link:
        link.frame(BINARY, b"")
        link.frame(0, b"\x01")
        link.frame(0, b"ab")
        link.frame(0x80, b"cd")
        link.frame(0x80 | BINARY, b"\x00x")
        link.frame(0x80 | BINARY, b"")
        link.frame(0x80 | BINARY, b"\x07nobody listens")
        await link.settle()
        assert [sink.data for sink in link.sinks] == [b"x", b"abcd"]


@pytest.mark.parametrize(("version", "ends"), [(5, 2), (4, 0)])
async def test_close_channel_is_of_version_5(version: int, ends: int) -> None:
    async with Link(version) as link:
        link.frame(0x80 | BINARY, b"\xff\x00")
        link.frame(BINARY, b"\xff")
        link.frame(0x80, b"\x00")
        link.frame(0x80 | BINARY, b"\xff\x09")
        await link.settle()
        assert link.sinks[0].ends == ends
        assert link.sinks[0].data == b""


async def test_base64_messages() -> None:
    async with Link(4, base64=True) as link:
        link.frame(0x80 | TEXT, b"0aGVs")
        link.frame(TEXT, b"0bG")
        link.frame(0x80, b"8=")
        link.frame(0x80 | TEXT, b"")
        link.frame(0x80 | TEXT, b"9aGVs")
        await link.settle()
        assert link.sinks[0].data == b"hello"
        await link.session.send(1, b"answer")
        assert await link.client.read_bytes(1, 6) == b"answer"


async def test_message_that_is_not_base64_ends_the_session() -> None:
    async with Link(4, base64=True) as link:
        link.frame(0x80 | TEXT, b"0!!!")
        await asyncio.wait_for(link.running, 60)


async def test_close_of_the_client_is_answered() -> None:
    async with Link(4) as link:
        link.client.connection.close()
        link.client.writer.write(link.client.connection.take_output())
        await asyncio.wait_for(link.running, 60)
        data: Any = await link.client.reader.read(100)
        assert data == b"\x88\x02\x03\xe8"


async def test_end_of_the_work_closes() -> None:
    async with Link(4) as link:
        await link.session.outlet(1).end()
        link.finish.set()
        await link.client.read_until_closed()
        assert link.client.close_code == 1000
