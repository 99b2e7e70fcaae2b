from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code, Unavailable
from crio.rpc.client import Client
from crio.rpc.server import Server
from crio.rpc.service import Context, service_table
from crio.rpc.status import RpcError
from crio.wire import hpack
from crio.wire.http2 import Http2Connection
from crio.wire.http2_events import HeadersReceived
from loop_clock import pass_seconds

VERSION = "/runtime.v1.RuntimeService/Version"


async def version(request: pb.VersionRequest, context: Context) -> pb.VersionResponse:
    return pb.VersionResponse(version=request.version)


def new_server() -> Server:
    return Server(service_table(pb.DESCRIPTOR.services_by_name["RuntimeService"], {"Version": version}))


async def ask(client: Client) -> str:
    return (await client.unary(VERSION, pb.VersionRequest(version="v"), pb.VersionResponse, 60)).version


async def test_nobody_there(tmp_path: Path) -> None:
    async with Client(f"unix://{tmp_path}/none.sock") as client:
        with pytest.raises(Unavailable, match="is the daemon running"):
            await ask(client)


async def test_connects_again_after_the_server_was_restarted(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with Client(path) as client:
        for _ in range(2):
            server = new_server()
            await server.listen(path)
            assert await ask(client) == "v"
            await server.stop(0)
            await asyncio.sleep(0.01)


async def test_many_calls_share_one_connection(tmp_path: Path) -> None:
    server = new_server()
    await server.listen(str(tmp_path / "s"))
    async with Client(str(tmp_path / "s")) as client:
        assert set(await asyncio.gather(*(ask(client) for _ in range(200)))) == {"v"}
        assert server.statistics()["connections"] == 1
    await server.stop(0)


@pytest.mark.parametrize(
    ("blocks", "code"),
    [
        ([[(":status", "200"), ("grpc-status", "0")]], Code.INTERNAL),
        ([[(":status", "503")]], Code.UNKNOWN),
        ([[(":status", "200"), ("grpc-status", "99"), ("grpc-message", "odd")]], Code.UNKNOWN),
        ([[(":status", "200")]], Code.UNKNOWN),
    ],
    ids=["no message", "not 200", "unknown code", "no status"],
)
async def test_odd_servers(tmp_path: Path, blocks: list[list[tuple[str, str]]], code: Code) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Http2Connection(client=False)
        while data := await reader.read(65536):
            for event in connection.feed(data):
                if isinstance(event, HeadersReceived):
                    for block in blocks:
                        connection.send_headers(event.stream_id, hpack.encode(block), end_stream=block is blocks[-1])
            writer.write(connection.take_output())
        writer.close()

    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"))
    async with Client(str(tmp_path / "s")) as client:
        with pytest.raises(RpcError) as caught:
            await ask(client)
        assert caught.value.code is code
    server.close()


async def test_server_that_speaks_something_else(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"))
    async with Client(str(tmp_path / "s")) as client:
        with pytest.raises(RpcError) as caught:
            await ask(client)
        assert caught.value.code is Code.UNAVAILABLE
    server.close()


async def test_time_out_does_not_reach_what_the_caller_does_with_a_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_sent = asyncio.Event()

    async def events(request: Any, context: Context) -> Any:
        yield pb.ContainerEventResponse()
        yield pb.ContainerEventResponse()
        both_sent.set()
        await asyncio.get_running_loop().create_future()

    methods = {"GetContainerEvents": events, "Version": version}
    server = Server(service_table(pb.DESCRIPTOR.services_by_name["RuntimeService"], methods))
    await server.listen(str(tmp_path / "s"))
    async with Client(str(tmp_path / "s")) as client:
        method = "/runtime.v1.RuntimeService/GetContainerEvents"
        stream = client.stream(method, pb.GetEventsRequest(), pb.ContainerEventResponse, 30)
        await anext(stream)
        await both_sent.wait()
        await ask(client)  # its answer comes behind the second event
        pass_seconds(monkeypatch, 31)
        await anext(stream)
        with pytest.raises(RpcError) as caught:
            await anext(stream)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
    await server.stop(0)


async def test_a_server_that_goes_between_connection_and_call(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    async with Client(str(tmp_path / "s")) as client:
        path = "/runtime.v1.RuntimeService/Version"
        asked = asyncio.create_task(client.unary(path, pb.VersionRequest(), pb.VersionResponse, 60))
        # After the task has connected, and before its connection sends anything.
        asyncio.get_running_loop().call_soon(listener.close)
        with pytest.raises(RpcError, match="the server closed the connection") as caught:
            await asked
    assert caught.value.code is Code.UNAVAILABLE
