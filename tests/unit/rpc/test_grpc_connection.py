"""What a client can do wrong, frame by frame."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.server import Server
from crio.rpc.service import Context, service_table
from crio.wire import grpc
from crio.wire.http2 import Http2Connection
from crio.wire.http2_events import DataReceived, HeadersReceived, StreamReset

GOOD = {":method": "POST", ":path": "/runtime.v1.RuntimeService/Version", "content-type": "application/grpc"}


async def version(request: pb.VersionRequest, context: Context) -> pb.VersionResponse:
    return pb.VersionResponse(version=request.version)


async def forever(request: Any, context: Context) -> pb.StatusResponse:
    await asyncio.sleep(60)
    return pb.StatusResponse()


class Wire:
    """A client that says what a test wants it to."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.http2 = Http2Connection(client=True)
        self.headers: list[dict[str, str]] = []
        self.data = b""
        self.resets: list[int] = []

    async def __aenter__(self) -> Wire:
        self.reader, self.writer = await asyncio.open_unix_connection(self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def open(self, *, end: bool = False, **changes: str) -> int:
        headers = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}
        stream = self.http2.open_stream(headers.items(), end_stream=end)
        self.writer.write(self.http2.take_output())
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = True) -> None:
        self.http2.send_data(stream, data, end_stream=end)
        self.writer.write(self.http2.take_output())

    async def status(self) -> dict[str, str]:
        """The headers that end a stream."""
        while True:
            data = await asyncio.wait_for(self.reader.read(65536), 60)
            assert data, "the connection was closed"
            for event in self.http2.feed(data):
                match event:
                    case HeadersReceived(_, headers, ended):
                        self.headers.append(dict(headers))
                        if ended:
                            return dict(headers)
                    case DataReceived(_, piece, _):
                        self.data += piece
                    case StreamReset(_, code):
                        self.resets.append(code)
                    case _:
                        pass
            self.writer.write(self.http2.take_output())


@pytest.fixture
async def wire(tmp_path: Path) -> Any:
    table = service_table(pb.DESCRIPTOR.services_by_name["RuntimeService"], {"Version": version, "Status": forever})
    server = Server(table, max_receive=1000)
    await server.listen(str(tmp_path / "s"))
    async with Wire(str(tmp_path / "s")) as client:
        yield client
    await server.stop(0)


def message(data: bytes) -> bytes:
    return grpc.message_prefix(len(data)) + data


async def test_good_call_has_headers_a_message_and_trailers(wire: Wire) -> None:
    wire.send(wire.open(), message(pb.VersionRequest(version="x").SerializeToString()))
    assert await wire.status() == {"grpc-status": "0"}
    assert wire.headers[0] == {":status": "200", "content-type": "application/grpc"}
    assert pb.VersionResponse.FromString(wire.data[5:]).version == "x"


async def test_end_of_stream_may_come_alone(wire: Wire) -> None:
    stream = wire.open()
    wire.send(stream, message(b"")[:3], end=False)
    wire.send(stream, message(b"")[3:], end=False)
    wire.send(stream, b"")
    assert (await wire.status())["grpc-status"] == "0"


@pytest.mark.parametrize(
    ("changes", "status"),
    [({":method": "GET"}, "405"), ({"content_type": "application/json"}, "415"), ({"content_type": ""}, "415")],
)
async def test_what_is_not_grpc_gets_an_http_status(wire: Wire, changes: dict[str, str], status: str) -> None:
    wire.open(end=True, **changes)
    assert (await wire.status())[":status"] == status


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", "13"),
        (message(b"ab")[:6], "13"),
        (message(b"") + message(b""), "13"),
        (b"\x01\0\0\0\0", "12"),
        (grpc.message_prefix(1001), "8"),
        (message(b"\xff\xff"), "13"),
    ],
    ids=["no message", "cut off", "two messages", "compressed", "too long", "no protobuf"],
)
async def test_malformed_requests(wire: Wire, data: bytes, status: str) -> None:
    wire.send(wire.open(), data)
    answer = await wire.status()
    assert answer["grpc-status"] == status
    assert answer["grpc-message"]


async def test_request_without_a_body(wire: Wire) -> None:
    wire.open(end=True)
    assert (await wire.status())["grpc-status"] == "13"


async def test_refused_request_is_reset_while_it_is_still_sent(wire: Wire) -> None:
    stream = wire.open()
    wire.send(stream, grpc.message_prefix(5000) + bytes(100), end=False)
    assert (await wire.status())["grpc-status"] == "8"
    assert not wire.http2.is_open(stream) or wire.resets == [0]


async def test_malformed_timeout(wire: Wire) -> None:
    wire.open(grpc_timeout="soon")
    assert "grpc-timeout" in (await wire.status())["grpc-message"]


@pytest.mark.parametrize("complete", [True, False])
async def test_deadline_also_ends_requests_that_never_come(wire: Wire, complete: bool) -> None:
    changes = {":path": "/runtime.v1.RuntimeService/Status"}
    stream = wire.open(grpc_timeout="50m", **changes)  # type: ignore[arg-type]
    if complete:
        wire.send(stream, message(b""))
    assert (await wire.status())["grpc-status"] == "4"
