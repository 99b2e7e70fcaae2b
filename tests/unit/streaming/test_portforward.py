from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from crio.streaming.refusals import MOST
from crio.streaming.spdy_session import SpdyStream
from log_records import of_crio
from streaming_bed import Bed, SpdyClient, TunnelReader

PROTOCOL = "portforward.k8s.io"


@asynccontextmanager
async def pod_server(handler: str = "echo") -> AsyncIterator[int]:
    """A TCP server of a pod; its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if handler == "greet":
                writer.write(b"hello")
            elif handler == "upper at the end":
                writer.write((await reader.read()).upper())
            else:
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody can be given meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


async def over(bed: Bed, transport: str, port: int) -> SpdyClient:
    url = bed.server.port_forward_url("pod", [port])
    if transport == "spdy":
        return await bed.spdy(url, PROTOCOL)
    pipe = TunnelReader(await bed.websocket(url, "SPDY/3.1+" + PROTOCOL))
    return SpdyClient(pipe, pipe)


def open_pair(client: SpdyClient, port: int, request_id: str = "0") -> tuple[int, int]:
    error = client.open("error", port=str(port), requestID=request_id)
    return error, client.open("data", port=str(port), requestID=request_id)


@pytest.mark.parametrize("transport", ["spdy", "tunnel"])
async def test_many_connections_through_one_session(transport: str) -> None:
    async with Bed() as bed, pod_server() as port:
        client = await over(bed, transport, port)
        pairs = [open_pair(client, port, str(number)) for number in range(20)]
        for number, (error, data) in enumerate(pairs):
            client.send(error, b"", fin=True)
            client.send(data, b"%d" % number * 100, fin=True)
        await client.read_until_ended(*(stream for pair in pairs for stream in pair))
        for number, (error, data) in enumerate(pairs):
            assert client.received[data] == b"%d" % number * 100
            assert client.received[error] == b""
        assert not client.closed


@pytest.mark.parametrize("transport", ["spdy", "tunnel"])
async def test_large_transfers_in_both_directions(transport: str) -> None:
    block = os.urandom(100_000)
    async with Bed() as bed, pod_server() as port:
        client = await over(bed, transport, port)
        _, data = open_pair(client, port)
        reading = asyncio.create_task(client.read_bytes(data, 100 * len(block)))
        for _ in range(100):
            client.send(data, block)
            if transport == "spdy":
                await client.writer.drain()
        assert await reading == block * 100


async def test_half_close_reaches_the_pod_which_still_answers() -> None:
    async with Bed() as bed, pod_server("upper at the end") as port:
        client = await over(bed, "spdy", port)
        error, data = open_pair(client, port)
        client.send(data, b"abc", fin=True)
        await client.read_until_ended(error, data)
        assert client.received[data] == b"ABC"


async def test_pod_that_closes_ends_the_data_stream() -> None:
    async with Bed() as bed, pod_server("greet") as port:
        client = await over(bed, "spdy", port)
        error, data = open_pair(client, port)
        await client.read_until_ended(data)
        assert client.received[data] == b"hello"
        client.send(data, b"", fin=True)
        await client.read_until_ended(error)


async def test_port_that_nobody_listens_on_is_told_on_the_error_stream() -> None:
    async with Bed() as bed:
        with silent_port() as port:
            client = await over(bed, "spdy", port)
            error, data = open_pair(client, port)
            await client.read_until_ended(error, data)
        assert f"error forwarding port {port} to pod pod".encode() in client.received[error]
        assert not client.closed


async def test_reset_of_one_connection_leaves_the_others() -> None:
    async with Bed() as bed, pod_server() as port:
        client = await over(bed, "spdy", port)
        _, first = open_pair(client, port, "a")
        error, second = open_pair(client, port, "b")
        # Much is on its way on both when the first is reset.
        for _ in range(50):
            client.send(first, bytes(100_000))
        client.send(second, b"x" * 200_000)
        client.reset(first)
        client.send(second, b"", fin=True)
        await client.read_until_ended(second, error)
        assert client.received[second] == b"x" * 200_000
        while bed.server.statistics()["sessions"] != 1:
            await asyncio.sleep(0.01)


async def test_clients_without_request_ids_are_paired_by_stream() -> None:
    async with Bed() as bed, pod_server("greet") as port:
        client = await over(bed, "spdy", port)
        client.open("error", port=str(port))
        data = client.open("data", port=str(port))
        await client.read_until_ended(data)
        assert client.received[data] == b"hello"


@pytest.mark.parametrize(
    "headers", [{"port": "0"}, {"port": "65536"}, {"port": "x"}, {}, {"port": "-1"}, {"port": "8" * 5000}]
)
async def test_wrong_ports_are_refused(headers: dict[str, str]) -> None:
    async with Bed() as bed:
        client = await over(bed, "spdy", 80)
        stream = client.open("data", **headers)
        while stream not in client.resets:
            await client.step()


async def test_wrong_kinds_and_doubles_are_refused() -> None:
    async with Bed() as bed:
        client = await over(bed, "spdy", 80)
        client.open("error", port="80", requestID="1")
        wrong = [client.open("stdout", port="80"), client.open("error", port="80", requestID="1")]
        while not client.resets.keys() >= set(wrong):
            await client.step()


async def test_half_pair_is_given_up() -> None:
    async with Bed(creation_timeout=0.05) as bed:
        client = await over(bed, "spdy", 80)
        stream = client.open("error", port="80", requestID="1")
        while stream not in client.resets:
            await client.step()


async def test_log_does_not_grow_with_streams_that_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with Bed() as bed:
        client = await over(bed, "spdy", 80)
        wrong = [client.open("data", port="0") for _ in range(100)]
        while not client.resets.keys() >= set(wrong):
            await client.step()
        assert len([record for record in of_crio(caplog) if record.levelno >= logging.WARNING]) == MOST


def streams_in_memory() -> int:
    gc.collect()
    return sum(isinstance(item, SpdyStream) for item in gc.get_objects())


async def answered(client: SpdyClient) -> None:
    """The server has dealt with all that was sent to it."""
    ping = client.connection.ping()
    client.flush()
    while not any(getattr(event, "ping_id", None) == ping for event in client.events):
        await client.step()


async def test_half_pairs_that_are_reset_leave_nothing() -> None:
    before = streams_in_memory()
    async with Bed() as bed:
        client = await over(bed, "spdy", 80)
        for number in range(200):
            client.reset(client.open("error", port="80", requestID=str(number)))
        await answered(client)
        assert streams_in_memory() - before < 10
        # The id of one that was reset may come again.
        stream = client.open("error", port="80", requestID="0")
        await answered(client)
        assert stream not in client.resets


async def test_connections_that_are_over_leave_nothing() -> None:
    before = streams_in_memory()
    async with Bed() as bed, pod_server("greet") as port:
        client = await over(bed, "spdy", port)
        for number in range(30):
            error, data = open_pair(client, port, str(number))
            client.send(data, b"", fin=True)
            await client.read_until_ended(data, error)
        async with asyncio.timeout(60):
            while streams_in_memory() - before > 2:
                await asyncio.sleep(0.01)


async def test_more_than_ten_channels_in_base64() -> None:
    """The channel is one character, the eleventh a colon, as the API server's library has it."""
    async with Bed() as bed, pod_server() as port:
        client = await bed.websocket(bed.server.port_forward_url("pod", [port] * 6), "v4.base64.channel.k8s.io")
        client.send(10, b"ping")
        async with asyncio.timeout(60):
            assert await client.read_bytes(10, 6) == port.to_bytes(2, "little") + b"ping"


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"])
async def test_websocket_channels(protocol: str) -> None:
    async with Bed() as bed, pod_server() as echo, pod_server("greet") as greet:
        client = await bed.websocket(bed.server.port_forward_url("pod", [echo, greet]), protocol)
        client.send(0, b"ping")
        assert await client.read_bytes(0, 6) == echo.to_bytes(2, "little") + b"ping"
        assert await client.read_bytes(2, 7) == greet.to_bytes(2, "little") + b"hello"
        assert client.received[1] == echo.to_bytes(2, "little")
        assert client.received[3] == greet.to_bytes(2, "little")


async def test_websocket_error_channel() -> None:
    async with Bed() as bed:
        with silent_port() as port:
            client = await bed.websocket(bed.server.port_forward_url("pod", [port]), "v4.channel.k8s.io")
            await client.read_until_closed()
        assert b"error forwarding port" in client.received[1]
        assert client.close_code == 1000
