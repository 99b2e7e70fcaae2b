"""From an HTTP request with a valid token to the session of the protocol that its client speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from crio.streaming.backend import Services
from crio.streaming.command import CommandStreams, serve_command
from crio.streaming.inlet import Inlet
from crio.streaming.outlet import ClientGone
from crio.streaming.portforward import SpdyForwarder, serve_websocket
from crio.streaming.refusals import Refusals
from crio.streaming.requests import CommandRequest, PortForwardRequest
from crio.streaming.requests import Request as StreamRequest
from crio.streaming.sizes import SizeInlet
from crio.streaming.spdy_session import SpdySession, SpdyStream
from crio.streaming.stream import ByteStream
from crio.streaming.websocket_session import TunnelStream, WebSocketSession
from crio.wire import remotecommand, websocket
from crio.wire.http1 import HttpError, Request, Response, encode_response
from crio.wire.remotecommand import WebSocketProtocol
from crio.wire.spdy import ResetCode


async def upgrade(http: Request, request: StreamRequest, stream: ByteStream, first: bytes, services: Services) -> None:
    """Answer the upgrade and run the session to its end. Raises HttpError if the client asks for nothing we serve."""
    if http.wants_upgrade("websocket"):
        await _upgrade_websocket(http, request, stream, first, services)
    elif http.wants_upgrade(remotecommand.SPDY):
        await _upgrade_spdy(http, request, stream, first, services)
    else:
        raise HttpError(400, "it is no upgrade to SPDY/3.1 or WebSocket")


def _spdy_protocols(request: StreamRequest) -> Sequence[str]:
    return tuple(remotecommand.EXEC_SPDY) if isinstance(request, CommandRequest) else (remotecommand.PORT_FORWARD_SPDY,)


async def _upgrade_spdy(
    http: Request, request: StreamRequest, stream: ByteStream, first: bytes, services: Services
) -> None:
    offered = http.headers.items_of(remotecommand.VERSION_HEADER)
    served = _spdy_protocols(request)
    protocol = remotecommand.negotiate(offered, served)
    if protocol is None:
        accepted = [(remotecommand.ACCEPTED_HEADER, name) for name in served]
        text = f"unable to upgrade: none of the protocols {', '.join(offered) or '(none)'} is served\n"
        refusal = Response(403, text.encode(), "text/plain; charset=utf-8", accepted)
        await stream.write(encode_response(refusal, keep_alive=False))
        return
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", remotecommand.SPDY),
        (remotecommand.VERSION_HEADER, protocol),
    ]
    await stream.write(encode_response(Response(101, headers=headers)))
    await _run_spdy(protocol, request, stream, first, services)


async def _upgrade_websocket(
    http: Request, request: StreamRequest, stream: ByteStream, first: bytes, services: Services
) -> None:
    channels: dict[str, WebSocketProtocol] = (
        remotecommand.EXEC_WEBSOCKET if isinstance(request, CommandRequest) else remotecommand.PORT_FORWARD_WEBSOCKET
    )
    tunnels = [remotecommand.TUNNEL_PREFIX + name for name in _spdy_protocols(request)]
    offered = websocket.offered_protocols(http.headers)
    protocol = remotecommand.negotiate(offered, [*channels, *tunnels]) if offered else ""
    if protocol is None:
        raise HttpError(400, "none of its sub-protocols is served")
    headers = websocket.accept_headers(http, protocol)
    await stream.write(encode_response(Response(101, headers=headers)))
    if protocol in tunnels:
        tunnel = TunnelStream(stream, first)
        await _run_spdy(protocol.removeprefix(remotecommand.TUNNEL_PREFIX), request, tunnel, b"", services)
        return
    session = WebSocketSession(stream, first, channels[protocol], idle_timeout=services.idle_timeout)
    if isinstance(request, PortForwardRequest):
        await serve_websocket(request, services.port_forwarder, session)
    else:
        await _run_command_channels(request, session, channels[protocol].version, services)


async def _run_spdy(
    protocol: str, request: StreamRequest, stream: ByteStream, first: bytes, services: Services
) -> None:
    session = SpdySession(stream, first, idle_timeout=services.idle_timeout)
    if isinstance(request, PortForwardRequest):
        await SpdyForwarder(request, services.port_forwarder, services.creation_timeout).run(session)
    else:
        await _CommandStreamsOverSpdy(request, remotecommand.EXEC_SPDY[protocol]).run(session, services)


class _CommandStreamsOverSpdy:
    """Gathers the streams that the client opens for a command, then runs it."""

    def __init__(self, request: CommandRequest, version: int) -> None:
        self._request = request
        self._version = version
        wanted = {"error": True, "stdin": request.stdin, "stdout": request.stdout, "stderr": request.stderr}
        self._missing = {name for name, is_wanted in wanted.items() if is_wanted}
        if request.tty and version >= 3:
            self._missing.add("resize")
        self._streams: dict[str, SpdyStream] = {}
        self._sizes: SizeInlet | None = None
        self._complete = asyncio.Event()
        self._refusals = Refusals(asyncio.get_running_loop().time)

    async def run(self, session: SpdySession, services: Services) -> None:
        await session.run(self._opened, self._work(services))

    def _opened(self, stream: SpdyStream) -> None:
        kind = stream.headers.get(remotecommand.STREAM_TYPE, "").lower()
        if kind not in self._missing:
            self._refusals.tell(f"nobody has asked for one of type {kind[:20]!r}")
            stream.reset(ResetCode.PROTOCOL_ERROR)
            return
        self._missing.remove(kind)
        self._streams[kind] = stream
        if kind == "resize":
            self._sizes = stream.sink = SizeInlet(stream.taken)
        elif kind != "stdin":
            stream.inlet.discard()
        if not self._missing:
            self._complete.set()

    async def _work(self, services: Services) -> None:
        try:
            async with asyncio.timeout(services.creation_timeout):
                await self._complete.wait()
        except TimeoutError:
            raise ClientGone(f"it did not open its streams within {services.creation_timeout:g} s") from None
        streams = CommandStreams(
            self._version,
            self._streams["error"],
            self._streams["stdin"].inlet if "stdin" in self._streams else None,
            self._streams.get("stdout"),
            self._streams.get("stderr"),
            self._sizes,
        )
        await serve_command(self._request, streams, services.executor, services.attacher)


async def _run_command_channels(
    request: CommandRequest, session: WebSocketSession, version: int, services: Services
) -> None:
    streams = CommandStreams(version, session.outlet(remotecommand.ERROR))
    if request.stdin:
        streams.stdin = session.sinks[remotecommand.STDIN] = Inlet()
    if request.stdout:
        streams.stdout = session.outlet(remotecommand.STDOUT)
    if request.stderr:
        streams.stderr = session.outlet(remotecommand.STDERR)
    if request.tty:
        streams.sizes = session.sinks[remotecommand.RESIZE] = SizeInlet()

    async def work() -> None:
        # An empty message on the first channel that can be written tells the client that the connection stands.
        await (streams.stdout or streams.stderr or streams.error).send(memoryview(b""))
        await serve_command(request, streams, services.executor, services.attacher)

    await session.run(work())
