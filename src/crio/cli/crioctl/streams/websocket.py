"""Channels in WebSocket messages, and WebSocket as a tunnel for SPDY."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from crio.base.errors import Unavailable
from crio.cli.crioctl.streams.pipe import BytePipe, SocketPipe, Tls, upgrade
from crio.wire import remotecommand, websocket
from crio.wire.websocket import BINARY, Closed, MessagePart, WebSocketConnection, WebSocketError

MAX_MESSAGE_PIECE = 1 << 15
"""Bytes of data in one message: what every server takes."""


async def _connect(url: str, protocols: Sequence[str], tls: Tls) -> tuple[SocketPipe, str]:
    key = websocket.new_key()
    headers = [line for line in websocket.request_headers("", key, protocols) if line[0] != "Host"]
    pipe, _, answered = await upgrade(url, "GET", headers, tls)
    if answered.get("sec-websocket-accept") != websocket.accept_key(key):
        await pipe.close()
        raise Unavailable("cannot open the stream: the server's WebSocket handshake is wrong")
    return pipe, answered.get("sec-websocket-protocol")


class WebSocketChannels:
    """The numbered channels of exec and attach; `version` is the protocol's."""

    def __init__(self, pipe: BytePipe, version: int) -> None:
        self._pipe = pipe
        self._socket = WebSocketConnection(client=True)
        self.version = version

    @classmethod
    async def open(cls, url: str, tls: Tls) -> WebSocketChannels:
        """Raises Refused if the server does not speak WebSocket here, Unavailable."""
        pipe, protocol = await _connect(url, ("v5.channel.k8s.io", "v4.channel.k8s.io"), tls)
        return cls(pipe, remotecommand.EXEC_WEBSOCKET.get(protocol, remotecommand.EXEC_WEBSOCKET[""]).version)

    async def send(self, channel: int, data: bytes) -> None:
        for start in range(0, len(data), MAX_MESSAGE_PIECE):
            message = bytes((channel,)) + data[start : start + MAX_MESSAGE_PIECE]
            await self._pipe.write(self._socket.take_output() + self._socket.message(BINARY, message))

    async def end(self, channel: int) -> None:
        """Half-close a channel. Before version 5 there is no way to say so."""
        if self.version >= 5:
            message = bytes((remotecommand.CLOSE_CHANNEL, channel))
            await self._pipe.write(self._socket.take_output() + self._socket.message(BINARY, message))

    async def received(self) -> AsyncIterator[tuple[int, bytes]]:
        """Pairs of channel and data until the connection ends."""
        channel = -1
        while data := await self._pipe.read():
            try:
                events = self._socket.feed(data)
            except WebSocketError as error:
                raise Unavailable(f"cannot go on with the stream: {error}") from None
            for event in events:
                match event:
                    case MessagePart(piece, first, _, _):
                        if first and piece:
                            channel, piece = piece[0], piece[1:]
                        if piece and channel != remotecommand.CLOSE_CHANNEL:
                            yield channel, piece
                    case Closed():
                        await self._flush()
                        return
            await self._flush()

    async def close(self) -> None:
        self._socket.close()
        await self._flush()
        await self._pipe.close()

    async def _flush(self) -> None:
        if self._socket.pending:
            try:
                await self._pipe.write(self._socket.take_output())
            except Unavailable:
                pass


class WebSocketTunnel:
    """A BytePipe whose bytes travel in binary messages (KEP-4006: SPDY tunnelled in WebSocket)."""

    def __init__(self, pipe: BytePipe) -> None:
        self._pipe = pipe
        self._socket = WebSocketConnection(client=True)

    @classmethod
    async def open(cls, url: str, protocol: str, tls: Tls) -> WebSocketTunnel:
        """`protocol` is that of the SPDY connection. Raises Refused, Unavailable."""
        pipe, _ = await _connect(url, (remotecommand.TUNNEL_PREFIX + protocol,), tls)
        return cls(pipe)

    async def read(self) -> bytes:
        while data := await self._pipe.read():
            try:
                events = self._socket.feed(data)
            except WebSocketError as error:
                raise Unavailable(f"cannot go on with the stream: {error}") from None
            if self._socket.pending:
                await self._pipe.write(self._socket.take_output())
            content = b"".join(event.data for event in events if isinstance(event, MessagePart))
            if content:
                return content
            if any(isinstance(event, Closed) for event in events):
                break
        return b""

    async def write(self, data: bytes) -> None:
        await self._pipe.write(self._socket.take_output() + self._socket.message(BINARY, data))

    async def close(self) -> None:
        self._socket.close()
        try:
            await self._pipe.write(self._socket.take_output())
        except Unavailable:
            pass
        await self._pipe.close()
