"""Local ports joined with ports of a pod."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import NamedTuple

from crio.base.errors import CrioError, InvalidArgument, Unavailable
from crio.cli.crioctl.streams.pipe import Refused, Tls
from crio.cli.crioctl.streams.spdy import SpdyLink, Stream
from crio.cli.crioctl.streams.websocket import WebSocketTunnel
from crio.wire import remotecommand

_READ_BYTES = 1 << 16


class Ports(NamedTuple):
    """One forwarding; a local port of 0 is any free one."""

    local: int
    remote: int


def parse_ports(text: str) -> Ports:
    """`8080`, `8080:80` or `:80`. Raises InvalidArgument."""
    local, separator, remote = text.partition(":")
    try:
        ports = Ports(int(local or 0), int(remote)) if separator else Ports(int(local), int(local))
    except ValueError:
        ports = Ports(-1, -1)
    if not (0 <= ports.local < 65536 and 0 < ports.remote < 65536):
        raise InvalidArgument(f"cannot forward {text!r}: the form is [LOCAL_PORT:]REMOTE_PORT")
    return ports


async def connect(url: str, transport: str, tls: Tls) -> SpdyLink:
    """The connection that carries all forwarded ones: SPDY, plain or inside a WebSocket."""
    protocol = remotecommand.PORT_FORWARD_SPDY
    if transport == "websocket":
        try:
            return SpdyLink(await WebSocketTunnel.open(url, protocol, tls))
        except Refused as error:
            if error.status not in (400, 403, 405, 426, 501):
                raise
    link, _ = await SpdyLink.open_upgraded(url, [protocol], tls)
    return link


class Forwarder:
    """Listens on 127.0.0.1 and ::1 for each of the ports, and carries every connection to the pod."""

    def __init__(self, link: SpdyLink) -> None:
        self._link = link
        self._requests = 0
        self._carrying: set[asyncio.Task[None]] = set()

    async def run(self, ports: Sequence[Ports]) -> None:
        """Until the connection to the runtime ends. Raises Unavailable then, and if a local port cannot be had."""
        reading = asyncio.ensure_future(self._link.run())
        servers: list[asyncio.Server] = []
        try:
            for each in ports:
                servers += await self._listen(each)
            await reading
            raise Unavailable("cannot go on forwarding: the runtime closed the connection")
        finally:
            for server in servers:
                server.close()
            for task in (reading, *self._carrying):
                task.cancel()
            await asyncio.gather(reading, *self._carrying, return_exceptions=True)

    async def _listen(self, ports: Ports) -> list[asyncio.Server]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._carry(ports, reader, writer))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

        servers: list[asyncio.Server] = []
        local, reason = ports.local, ""
        for host in ("127.0.0.1", "::1"):
            try:
                server = await asyncio.start_server(accept, host, local)
            except OSError as error:
                reason = error.strerror or str(error)
                continue
            local = server.sockets[0].getsockname()[1]
            shown = f"[{host}]" if ":" in host else host
            print(f"Forwarding from {shown}:{local} -> {ports.remote}", flush=True)
            servers.append(server)
        if not servers:
            raise Unavailable(f"cannot listen on port {ports.local}: {reason}")
        return servers

    async def _carry(self, ports: Ports, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        print(f"Handling connection for {writer.get_extra_info('sockname')[1]}", flush=True)
        self._requests += 1
        headers = {remotecommand.PORT: str(ports.remote), remotecommand.REQUEST_ID: str(self._requests - 1)}
        try:
            errors = await self._link.open({remotecommand.STREAM_TYPE: "error", **headers}, fin=True)
            data = await self._link.open({remotecommand.STREAM_TYPE: "data", **headers})
            await self._copy(data, errors, reader, writer)
            self._link.forget(errors.id)
            self._link.forget(data.id)
        except (CrioError, OSError) as error:
            print(f"crioctl: the connection to port {ports.remote} broke off: {error}", file=sys.stderr)
        finally:
            writer.close()

    async def _copy(
        self, data: Stream, errors: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def outward() -> None:
            try:
                while chunk := await reader.read(_READ_BYTES):
                    await data.send(chunk)
                await data.end()
            except (Unavailable, OSError):
                pass  # the other direction and the error stream tell how it ended

        sending = asyncio.ensure_future(outward())
        try:
            while chunk := await data.read():
                writer.write(chunk)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            if message := await _text(errors):
                raise CrioError(message)
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _text(stream: Stream) -> str:
    text = bytearray()
    while len(text) < 4096 and (data := await stream.read()):
        text += data
    return " ".join(text.decode("utf-8", "replace").split())
