from __future__ import annotations

import asyncio
import gc
import resource
import socket
from collections.abc import Iterator

import pytest

from crio.rpc import listener as listener_module
from crio.rpc.listener import Listener
from log_records import of_crio


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


async def until(count: int, accepted: list[socket.socket]) -> None:
    async with asyncio.timeout(60):
        while len(accepted) < count:
            await asyncio.sleep(0.001)


async def test_accepts_until_closed(listening: socket.socket) -> None:
    accepted: list[socket.socket] = []
    address = listening.getsockname()
    listener = Listener("test", listening, accepted.append)
    clients = [socket.create_connection(address) for _ in range(100)]
    await until(100, accepted)
    assert not accepted[0].getblocking()
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    for sock in (*clients, *accepted):
        sock.close()


async def test_waits_while_there_are_no_descriptors(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener_module, "_RETRY", 0.02)
    accepted: list[socket.socket] = []
    gc.collect()  # descriptors of earlier tests would become free in between
    client = socket.socket()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    listener = Listener("test", listening, accepted.append)
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limits[1]))
    try:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        client.connect(listening.getsockname())
        async with asyncio.timeout(60):
            while len(of_crio(caplog)) < 3:
                await asyncio.sleep(0.001)
        assert accepted == []
        assert len(of_crio(caplog)) <= 1 + (loop.time() - begin) / 0.02
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    await until(1, accepted)
    accepted[0].close()
    client.close()
    listener.close()
