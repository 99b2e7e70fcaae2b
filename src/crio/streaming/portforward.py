"""Port-forward: connections into a pod, each joined to a data stream of the client, with an error stream beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence

import msgspec

from crio.base.errors import CrioError
from crio.base.tasks import TaskScope
from crio.streaming.backend import PortForwarder
from crio.streaming.inlet import Inlet
from crio.streaming.outlet import ClientGone, Outlet, pump
from crio.streaming.refusals import Refusals
from crio.streaming.requests import PortForwardRequest
from crio.streaming.spdy_session import SpdySession, SpdyStream
from crio.streaming.websocket_session import WebSocketSession
from crio.wire.remotecommand import PORT, REQUEST_ID, STREAM_TYPE
from crio.wire.spdy import ResetCode

log = logging.getLogger(__name__)

_HALF_OPEN_IDLE = 30.0
"""Seconds without data from the client after which a connection whose pod side has ended is given up."""


async def forward(
    forwarder: PortForwarder, sandbox_id: str, port: int, inlet: Inlet, data: Outlet, error: Outlet
) -> None:
    """Serve one connection to its end; what goes wrong in the pod is told on the error stream. Raises ClientGone."""
    try:
        connection = await forwarder.connect(sandbox_id, port)
    except CrioError as failure:
        inlet.discard()
        await _tell(error, f"error forwarding port {port} to pod {sandbox_id}: {failure.message}")
        await data.end()
        return
    over = asyncio.Event()

    def end_input() -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        over.set()

    try:
        inlet.connect(connection.fileno(), on_end=end_input, on_broken=over.set)
        await pump(connection.fileno(), data)
        await data.end()
        await _wait_over(over, inlet)
    finally:
        inlet.disconnect()
        connection.close()
    await error.end()


async def _tell(error: Outlet, text: str) -> None:
    log.warning("%s", text)
    await error.send(memoryview(text.encode()))
    await error.end()


async def _wait_over(over: asyncio.Event, inlet: Inlet) -> None:
    """The pod has said everything, and may still listen: wait for the client's end while it sends."""
    moved = -1
    while not over.is_set() and inlet.moved != moved:
        moved = inlet.moved
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HALF_OPEN_IDLE):
                await over.wait()


class _HalfPair(msgspec.Struct, frozen=True):
    """A stream whose other half has not come; `timer` gives it up."""

    kind: str
    stream: SpdyStream
    timer: asyncio.TimerHandle


class SpdyForwarder:
    """Pairs the streams that a client opens, and serves each pair."""

    def __init__(self, request: PortForwardRequest, forwarder: PortForwarder, creation_timeout: float) -> None:
        self._request = request
        self._forwarder = forwarder
        self._creation_timeout = creation_timeout
        self._half_pairs: dict[str, _HalfPair] = {}
        self._tasks = TaskScope(f"port-forward {request.sandbox_id[:12]}")
        self._refusals = Refusals(asyncio.get_running_loop().time)

    async def run(self, session: SpdySession) -> None:
        await session.run(self._opened, self._work())

    async def _work(self) -> None:
        """As long as the client stays."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for half in self._half_pairs.values():
                half.timer.cancel()
            await self._tasks.stop()

    def _opened(self, stream: SpdyStream) -> None:
        kind, port_text = stream.headers.get(STREAM_TYPE, ""), stream.headers.get(PORT, "")
        port = int(port_text) if port_text.isascii() and port_text.isdigit() and len(port_text) < 6 else 0
        if kind not in ("error", "data") or not 0 < port < 65536:
            self._refusals.tell(f"it is for port-forward and has type {kind[:20]!r}, port {port_text[:20]!r}")
            stream.reset(ResetCode.PROTOCOL_ERROR)
            return
        # Clients older than request ids open the error stream first and the data stream, two ids later, next.
        request_id = stream.headers.get(REQUEST_ID) or str(stream.id if kind == "error" else stream.id - 2)
        half = self._half_pairs.get(request_id)
        if half is None:
            timer = asyncio.get_running_loop().call_later(self._creation_timeout, self._give_up, request_id)
            self._half_pairs[request_id] = _HalfPair(kind, stream, timer)
            stream.on_reset = lambda: self._forget(request_id)
            return
        if half.kind == kind:
            stream.reset(ResetCode.PROTOCOL_ERROR)
            return
        self._forget(request_id)
        half.stream.on_reset = None
        data, error = (stream, half.stream) if kind == "data" else (half.stream, stream)
        task = self._tasks.spawn(f"port {port}", self._serve(port, data, error))
        data.on_reset = lambda: _cancel(task)

    def _forget(self, request_id: str) -> None:
        self._half_pairs.pop(request_id).timer.cancel()

    def _give_up(self, request_id: str) -> None:
        self._refusals.tell("it is for port-forward and its second half did not come")
        self._half_pairs.pop(request_id).stream.reset(ResetCode.CANCEL)

    async def _serve(self, port: int, data: SpdyStream, error: SpdyStream) -> None:
        error.inlet.discard()
        try:
            await forward(self._forwarder, self._request.sandbox_id, port, data.inlet, data, error)
        except ClientGone:
            pass
        finally:
            data.on_reset = None
            data.forget()
            error.forget()


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


async def serve_websocket(request: PortForwardRequest, forwarder: PortForwarder, session: WebSocketSession) -> None:
    """Two channels for each port of the request, data and error; each starts with the port's number."""
    inlets = [Inlet() for _ in request.ports]
    for number, inlet in enumerate(inlets):
        session.sinks[2 * number] = inlet
    await session.run(_serve_channels(request.sandbox_id, request.ports, forwarder, inlets, session))


async def _serve_channels(
    sandbox_id: str, ports: Sequence[int], forwarder: PortForwarder, inlets: Sequence[Inlet], session: WebSocketSession
) -> None:
    for number, port in enumerate(ports):
        for channel in (2 * number, 2 * number + 1):
            await session.send(channel, port.to_bytes(2, "little"))
    try:
        async with asyncio.TaskGroup() as tasks:
            for number, (port, inlet) in enumerate(zip(ports, inlets, strict=True)):
                data, error = session.outlet(2 * number), session.outlet(2 * number + 1)
                tasks.create_task(forward(forwarder, sandbox_id, port, inlet, data, error))
    except* ClientGone as group:
        raise group.exceptions[0] from None
