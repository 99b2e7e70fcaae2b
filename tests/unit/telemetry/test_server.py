from __future__ import annotations

import asyncio
import os
import ssl
import stat
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.base.errors import AlreadyExists, Unavailable
from crio.base.tls import ensure_certificate, server_context
from crio.telemetry.server import MAX_HEAD, MetricsServer


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    server = MetricsServer(lambda: "up 1\n")
    yield server
    await server.stop()


async def ask(port: int, request: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_metrics_over_tcp(server: MetricsServer) -> None:
    port = await server.start_tcp("127.0.0.1", 0)
    head, body = (await ask(port, GET)).split(b"\r\n\r\n")
    assert body == b"up 1\n"
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert (await ask(port, GET.replace(b"GET", b"HEAD"))).endswith(b"Content-Length: 5\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"hello\r\n\r\n", b"400"),
        (b"GET /metrics?name=x HTTP/1.1\r\n\r\n", b"200"),
    ],
)
async def test_other_requests(server: MetricsServer, request_bytes: bytes, status: bytes) -> None:
    port = await server.start_tcp("127.0.0.1", 0)
    assert (await ask(port, request_bytes)).split(b" ")[1] == status


async def test_a_head_without_end_is_cut_off(server: MetricsServer) -> None:
    port = await server.start_tcp("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x" * (MAX_HEAD * 2))
    with pytest.raises((ConnectionResetError, AssertionError)):
        assert await reader.read() != b""
    writer.close()


async def test_a_failing_metric_is_an_error_for_the_scraper_only() -> None:
    def broken() -> str:
        raise ValueError("no figures")

    server = MetricsServer(broken)
    port = await server.start_tcp("127.0.0.1", 0)
    assert (await ask(port, GET)).startswith(b"HTTP/1.1 500 ")
    assert (await ask(port, GET)).startswith(b"HTTP/1.1 500 ")
    await server.stop()


async def test_what_takes_long_is_done_in_a_thread_before_the_text() -> None:
    threads: list[int] = []
    server = MetricsServer(lambda: f"looks {len(threads)}\n", lambda: threads.append(threading.get_ident()))
    port = await server.start_tcp("127.0.0.1", 0)
    assert (await ask(port, GET)).endswith(b"looks 1\n")
    assert threads != [threading.get_ident()]
    await server.stop()


async def test_many_clients_take_one_thread() -> None:
    inside, most = 0, 0

    def look() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.005)
        inside -= 1

    server = MetricsServer(lambda: "up 1\n", look)
    port = await server.start_tcp("127.0.0.1", 0)
    answers = await asyncio.gather(*(ask(port, GET) for _ in range(10)))
    assert all(answer.endswith(b"up 1\n") for answer in answers)
    assert most == 1
    await server.stop()


async def test_unix_socket(server: MetricsServer, tmp_path: Path) -> None:
    path = str(tmp_path / "dir" / "metrics.sock")
    await server.start_unix(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(GET)
    assert (await reader.read()).endswith(b"up 1\n")
    writer.close()
    other = MetricsServer(lambda: "")
    with pytest.raises(AlreadyExists):
        await other.start_unix(path)
    await server.stop()
    assert not os.path.exists(path)


async def test_a_dead_socket_is_replaced(server: MetricsServer, tmp_path: Path) -> None:
    path = str(tmp_path / "metrics.sock")
    dead = MetricsServer(lambda: "")
    await dead.start_unix(path)
    os.link(path, f"{path}.kept")
    await dead.stop()
    os.rename(f"{path}.kept", path)
    await server.start_unix(path)


async def test_a_port_in_use_is_one_sentence(server: MetricsServer) -> None:
    port = await server.start_tcp("127.0.0.1", 0)
    with pytest.raises(Unavailable, match=rf"cannot serve metrics on 127.0.0.1:{port}: Address already in use"):
        await MetricsServer(lambda: "").start_tcp("127.0.0.1", port)


async def test_tls_with_a_pair_that_is_made(server: MetricsServer, tmp_path: Path) -> None:
    cert, key = str(tmp_path / "tls" / "cert.pem"), str(tmp_path / "tls" / "key.pem")
    assert await ensure_certificate(cert, key)
    port = await server.start_tcp("127.0.0.1", 0, server_context(cert, key))
    client = ssl.create_default_context(cafile=cert)
    assert (await ask(port, GET, client)).endswith(b"up 1\n")
