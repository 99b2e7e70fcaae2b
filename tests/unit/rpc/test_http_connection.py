from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from crio.rpc.http_connection import HttpHandler
from crio.rpc.server import Server
from crio.wire.http1 import Request, Response


async def hello(request: Request) -> Response:
    return Response(200, request.method.encode(), "text/plain")


async def serve(path: Path, handler: HttpHandler | None) -> tuple[Server, asyncio.StreamReader, asyncio.StreamWriter]:
    server = Server({}, http_handler=handler)
    await server.listen(str(path / "s"))
    return server, *await asyncio.open_unix_connection(str(path / "s"))


async def test_close_is_honoured(tmp_path: Path) -> None:
    server, reader, writer = await serve(tmp_path, hello)
    writer.write(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    assert b"Content-Length: 4\r\nConnection: close\r\n\r\n" in answer
    assert not answer.endswith(b"HEAD")
    writer.close()
    await server.stop(0)


@pytest.mark.parametrize("target", [b"/", b"//["])
async def test_without_a_handler_nothing_is_found(tmp_path: Path, target: bytes) -> None:
    server, reader, writer = await serve(tmp_path, None)
    writer.write(b"GET %s HTTP/1.0\r\n\r\n" % target)
    assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await server.stop(0)


async def test_stop_answers_what_runs(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def slow(request: Request) -> Response:
        started.set()
        await asyncio.sleep(60)
        return Response(200)

    server, reader, writer = await serve(tmp_path, slow)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await started.wait()
    await server.stop(0.01)
    assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    writer.close()


async def test_client_that_leaves_cancels_its_request(tmp_path: Path) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return Response(200)

    server, _, writer = await serve(tmp_path, slow)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await started.wait()
    writer.close()
    await asyncio.wait_for(cancelled.wait(), 60)
    await server.stop(0)


async def test_many_requests_at_once_are_answered_in_order(tmp_path: Path) -> None:
    async def path(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(200, request.path.encode() + b";")

    server, reader, writer = await serve(tmp_path, path)
    requests = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5000)]
    writer.write(b"".join(requests))
    answers = b""
    while not answers.endswith(b"/4999;"):
        answers += await asyncio.wait_for(reader.read(65536), 60)
    assert [int(number) for number in re.findall(rb"/(\d+);", answers)] == list(range(5000))
    writer.close()
    await server.stop(0)


@pytest.mark.parametrize("idle", [True, False])
async def test_stop_closes_idle_connections(tmp_path: Path, idle: bool) -> None:
    server, reader, writer = await serve(tmp_path, hello)
    if not idle:
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"GET")
    await server.stop(1)
    rest: Any = await asyncio.wait_for(reader.read(), 60)
    assert rest == b""
    writer.close()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


@pytest.mark.parametrize(
    "data",
    [
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" + PREFACE,
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(PREFACE), PREFACE),
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + PREFACE,
    ],
)
async def test_connection_that_began_as_http_1_never_becomes_grpc(tmp_path: Path, data: bytes) -> None:
    """Both are served on one socket: nothing may be smuggled from the one into the other."""
    server, reader, writer = await serve(tmp_path, hello)
    writer.write(data + b"GET /b HTTP/1.0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 60)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 101" not in answer
    assert b"\0\0" not in answer
    writer.close()
    await server.stop(0)
