"""Throughput of exec and port-forward, measured with one and the same client, which is this project's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

from benchmarks.bench import Bench, timed
from benchmarks.peers.cri import CriPeer
from benchmarks.results import Table
from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl.streams.forward import connect
from crio.cli.crioctl.streams.pipe import Tls
from crio.cli.crioctl.streams.remote import Wanted, open_channels
from crio.wire import remotecommand
from crio.wire.remotecommand import STDIN, STDOUT

_MIB = 1 << 20
_CHUNK = bytes(1 << 16)
_PORT = 8080
_RUNTIME = "crun"


async def measure(bench: Bench) -> None:
    size = 128 if bench.quick else 1024
    async with bench.daemons() as (project, containerd):
        table = bench.results.table(f"Streams, {size} MiB", (project.name, containerd.name))
        server = f"while :; do nc -l -p {_PORT} -e dd if=/dev/zero bs={_MIB} count={size} 2>/dev/null; done"
        pods: dict[CriPeer, tuple[str, str]] = {
            peer: await peer.pod_with_container(_RUNTIME, host_network=False, command=("/bin/sh", "-c", server))
            for peer in (project, containerd)
        }
        for _ in bench.rounds(25, 10):
            for peer, (_, container) in pods.items():
                await timed(table.figure("exec true, from call to outcome", "ms"), peer.name, _true(peer, container))
        for number in bench.rounds(3, 2):
            bench.say(f"streams, round {number + 1}")
            for peer, (pod, container) in pods.items():
                await _throughput(table, "exec, output, SPDY", peer, size, _output(peer, container, size, "spdy"))
                if peer is project:
                    work = _output(peer, container, size, "websocket")
                    await _throughput(table, "exec, output, WebSocket", peer, size, work)
                await _throughput(table, "exec, input, SPDY", peer, size, _input(peer, container, size))
                await _throughput(table, "port-forward, from the pod", peer, size, _forward(peer, pod))
                await _answers_meanwhile(table, peer, _output(peer, container, size, "spdy"))


async def _throughput(table: Table, name: str, peer: CriPeer, size: int, work: Awaitable[int]) -> None:
    """`work` moves `size` MiB, and returns how many bytes have arrived."""
    spent, begin = peer.cpu_seconds(), time.perf_counter()
    arrived = await work / _MIB
    seconds = time.perf_counter() - begin
    if arrived < size:
        # containerd closes the connection while its last data are under way to the client.
        text = f"{name}: {peer.name} lost the end of its stream"
        if text not in table.notes:
            table.notes.append(text)
    table.figure(name, "MiB/s", more_is_better=True).add(peer.name, arrived / seconds)
    gibibytes = arrived / 1024
    table.figure(f"{name}: processor time", "s/GiB").add(peer.name, (peer.cpu_seconds() - spent) / gibibytes)


async def _answers_meanwhile(table: Table, peer: CriPeer, work: Awaitable[int]) -> None:
    """How long the daemon's answers take while a command pours its output through it."""
    stream = asyncio.ensure_future(work)
    figure = table.figure("ListContainers while a command pours", "ms")
    while not stream.done():
        await timed(
            figure, peer.name, peer.call("ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse)
        )
        await asyncio.sleep(0.02)
    await stream


async def _output(peer: CriPeer, container: str, size: int, transport: str) -> int:
    command = ("/bin/dd", "if=/dev/zero", f"bs={_MIB}", f"count={size}")
    channels = await open_channels(await peer.exec_url(container, command), Wanted(False, False, transport))
    received = 0
    try:
        async for channel, data in channels.received():
            if channel == STDOUT:
                received += len(data)
    finally:
        await channels.close()
    return received


async def _input(peer: CriPeer, container: str, size: int) -> int:
    # busybox' wc takes longer over its bytes than any server.
    command = ("/bin/sh", "-c", f"dd of=/dev/null bs={_MIB} iflag=fullblock 2>&1 | tail -n 1")
    url = await peer.exec_url(container, command, stdin=True)
    channels = await open_channels(url, Wanted(True, False, "spdy"))

    async def send() -> None:
        for _ in range(size * _MIB // len(_CHUNK)):
            await channels.send(STDIN, _CHUNK)
        await channels.end(STDIN)

    sending = asyncio.ensure_future(send())
    counted = b""
    try:
        async for channel, data in channels.received():
            if channel == STDOUT:
                counted += data
        await sending
    finally:
        sending.cancel()
        await channels.close()
    # "128+0 records out"
    return int(counted.partition(b"+")[0] or b"0") * _MIB


async def _true(peer: CriPeer, container: str) -> None:
    channels = await open_channels(await peer.exec_url(container, ("/bin/true",)), Wanted(False, False, "spdy"))
    try:
        async for _ in channels.received():
            pass
    finally:
        await channels.close()


async def _forward(peer: CriPeer, pod: str) -> int:
    link = await connect(await peer.port_forward_url(pod, _PORT), "spdy", Tls())
    reading = asyncio.ensure_future(link.run())
    try:
        headers = {remotecommand.PORT: str(_PORT), remotecommand.REQUEST_ID: "0"}
        await link.open({remotecommand.STREAM_TYPE: "error", **headers}, fin=True)
        data = await link.open({remotecommand.STREAM_TYPE: "data", **headers})
        received = 0
        while chunk := await data.read():
            received += len(chunk)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await link.close()
    return received
