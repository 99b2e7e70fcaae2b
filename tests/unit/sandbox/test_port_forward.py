"""Connections into a real network namespace."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition, NotFound, Unavailable
from crio.linux import namespaces
from crio.sandbox.port_forward import PodConnector
from small_node import SmallNode, make_sandbox

pytestmark = pytest.mark.root


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / f"net-{secrets.token_hex(4)}")
    namespaces.pin({"net": path})
    yield path
    namespaces.unpin(path)
    namespaces.unshare_directory(str(tmp_path))


def listener(family: socket.AddressFamily, address: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind((address, 0))
    sock.listen()
    return sock


def connector(root: Path, **facts: object) -> PodConnector:
    small = SmallNode(root)
    small.add_sandbox(make_sandbox(1, **facts))  # type: ignore[arg-type]
    return PodConnector(small.sandboxes)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_a_port_inside_the_pod(tmp_path: Path, netns: str, family: socket.AddressFamily, address: str) -> None:
    with namespaces.run_in_netns(netns, lambda: listener(family, address)) as server:
        connection = await connector(tmp_path, namespaces={"net": netns}).connect("01", server.getsockname()[1])
        with connection:
            assert connection.getblocking() is False
            accepted, _ = await asyncio.to_thread(server.accept)
            with accepted:
                accepted.sendall(b"hello")
                assert await asyncio.get_running_loop().sock_recv(connection, 5) == b"hello"


async def test_a_port_of_the_host_is_not_the_pods(tmp_path: Path, netns: str) -> None:
    with listener(socket.AF_INET, "127.0.0.1") as server:
        port = server.getsockname()[1]
        with pytest.raises(
            Unavailable, match=rf"port {port} of pod 010101010101: 127.0.0.1: Connection refused; ::1: "
        ):
            await connector(tmp_path, namespaces={"net": netns}).connect("01", port)


async def test_with_the_hosts_network_it_is(tmp_path: Path) -> None:
    with listener(socket.AF_INET, "127.0.0.1") as server:
        pods = connector(tmp_path, host_network=True)
        (await pods.connect("01", server.getsockname()[1])).close()


async def test_a_stopped_pod(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="it is stopped"):
        await connector(tmp_path, stopped_at=1).connect("01", 80)


async def test_an_unknown_pod(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await connector(tmp_path).connect("ff", 80)
