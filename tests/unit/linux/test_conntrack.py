from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from crio.linux import conntrack, nft

pytestmark = pytest.mark.root

TABLE = nft.Table(nft.NFPROTO_INET, f"crio_test_conntrack_{os.getpid()}")


@pytest.fixture(autouse=True)
def _tracking() -> Iterator[None]:
    """A chain of type nat makes the kernel track connections."""
    batch = nft.Batch()
    batch.add_table(TABLE)
    batch.add_base_chain(TABLE, "output", "nat", nft.HOOK_OUTPUT, nft.PRIORITY_DSTNAT)
    with nft.connect() as netlink:
        batch.commit(netlink)
    yield
    batch = nft.Batch()
    batch.delete_table(TABLE)
    with nft.connect() as netlink:
        batch.commit(netlink)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_flows_to_a_port_are_forgotten(family: int, host: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
        server.bind((host, 0))
        port = server.getsockname()[1]
        client.sendto(b"x", (host, port))
        assert conntrack.forget_udp({port + 1}, family) == 0
        assert conntrack.forget_udp({port}, family) == 1
        assert conntrack.forget_udp({port}, family) == 0
