from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.cli.crioctl.streams.forward import Ports, parse_ports
from fake_cri import FakeCri
from streaming_bed import Bed

SRC = str(Path(__file__).parents[5] / "src")
POD = "1a" * 32


@pytest.fixture
def cri(tmp_path: Path) -> Iterator[FakeCri]:
    fake = FakeCri(str(tmp_path / "cri.sock"))
    fake.add_pod(POD, "shop")
    yield fake
    fake.stop()


@asynccontextmanager
async def forwarded(
    cri: FakeCri, bed: Bed, transport: str, remote: int
) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """crioctl that forwards a free local port, which is yielded, to `remote`."""
    cri.answers["PortForward"] = pb.PortForwardResponse(url=bed.server.port_forward_url("p", [remote]))
    cri.start()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crio.cli.crioctl", "-r", cri.endpoint),
        *("port-forward", "-r", transport, "shop", f":{remote}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SRC},
    )
    assert child.stdout is not None
    try:
        line = await asyncio.wait_for(child.stdout.readline(), 60)
        match = re.fullmatch(rb"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)\n", line)
        assert match is not None, line
        assert int(match[2]) == remote
        yield int(match[1]), child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"THE END")
    writer.close()


@pytest.mark.parametrize("transport", ["websocket", "spdy"])
async def test_large_transfers_on_several_connections(cri: FakeCri, transport: str) -> None:
    data = os.urandom(4 << 20)

    async def one(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read(-1)
        writer.close()
        return answer

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Bed() as bed, forwarded(cri, bed, transport, server.sockets[0].getsockname()[1]) as (port, _):
        async with asyncio.timeout(60):
            assert list(await asyncio.gather(one(port), one(port), one(port))) == [data + b"THE END"] * 3
    server.close()
    assert cri.requests("PortForward")[0].pod_sandbox_id == POD


@pytest.mark.parametrize("transport", ["websocket", "spdy"])
async def test_a_port_where_nobody_listens(cri: FakeCri, transport: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with Bed() as bed, forwarded(cri, bed, transport, taken.getsockname()[1]) as (port, child):
            assert child.stderr is not None
            for _ in range(2):  # the forwarding goes on after a connection that failed
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                async with asyncio.timeout(60):
                    assert await reader.read() == b""
                    assert b"cannot connect to port" in await child.stderr.readline()
                writer.close()
            assert child.returncode is None


async def test_the_runtime_goes_away(cri: FakeCri) -> None:
    async with Bed() as bed, forwarded(cri, bed, "spdy", 9) as (_, child):
        await bed.server.stop()
        _, err = await asyncio.wait_for(child.communicate(), 60)
        assert child.returncode == 1
        assert b"the runtime closed the connection" in err


@pytest.mark.parametrize(
    ("text", "expected"), [("80", Ports(80, 80)), ("8080:80", Ports(8080, 80)), (":80", Ports(0, 80))]
)
def test_ports(text: str, expected: Ports) -> None:
    assert parse_ports(text) == expected


@pytest.mark.parametrize("text", ["", "x", "0", "80:", "70000", "1:70000", "-1:80", "1:2:3"])
def test_wrong_ports(text: str) -> None:
    with pytest.raises(InvalidArgument, match="the form is"):
        parse_ports(text)
