"""Connections to a streaming server: dialled, upgraded from HTTP, and then plain bytes in both directions."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from crio.base.errors import CrioError, InvalidArgument, Unavailable
from crio.wire.http1 import Headers, HttpError, Response, ResponseReader, encode_request

READ_BYTES = 1 << 17
KUBELET_HOST, KUBELET_PORT = "127.0.0.1", 10250
"""Where a URL without a host leads: to the kubelet that once stood before the runtime."""
_CONNECT_SECONDS = 10.0


class Tls(NamedTuple):
    """Files for https URLs. Without any of them the server's certificate is not checked, as in crictl."""

    server_name: str = "localhost"
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """Raises InvalidArgument."""
        if bool(self.certificate) != bool(self.key):
            raise InvalidArgument("cannot use TLS: --tls-cert and --tls-key belong together")
        context = ssl.create_default_context(cafile=self.ca or None)
        if not (self.ca or self.certificate):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context


class Refused(CrioError):
    """The server did not upgrade the connection; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BytePipe(Protocol):
    """Bytes in both directions."""

    async def read(self) -> bytes:
        """What came; b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Send, and wait while the other side is slow. Raises Unavailable when the connection is lost."""

    async def close(self) -> None: ...


class SocketPipe:
    """A BytePipe over TCP or TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes) -> None:
        self._reader, self._writer, self._first = reader, writer, first

    async def read(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            return await self._reader.read(READ_BYTES)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Unavailable(f"cannot go on with the stream: {error}") from None

    async def close(self) -> None:
        self._writer.close()
        try:
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            pass


async def upgrade(
    url: str, method: str, headers: Sequence[tuple[str, str]], tls: Tls
) -> tuple[SocketPipe, Response, Headers]:
    """Connect to `url` and ask for an upgrade with these headers; Host is added.

    Raises Unavailable if nobody answers, Refused if the answer is not 101 Switching Protocols.
    """
    parts = urlsplit(url)
    secure = parts.scheme in ("https", "wss")
    host = parts.hostname or KUBELET_HOST
    port = parts.port or (KUBELET_PORT if not parts.hostname else 443 if secure else 80)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                host,
                port,
                ssl=tls.context() if secure else None,
                server_hostname=tls.server_name if secure else None,
            )
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"cannot connect to the streaming server {host}:{port}: {error or 'no answer'}") from None
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(encode_request(method, target, [("Host", parts.netloc or f"{host}:{port}"), *headers]))
        await writer.drain()
        response, rest = await _response(reader)
        if response.status != 101:
            text = " ".join(response.body[:500].decode("utf-8", "replace").split()) or response.reason
            raise Refused(f"cannot open the stream: {text} (HTTP status {response.status})", response.status)
        return SocketPipe(reader, writer, rest), response, Headers(response.headers)
    except BaseException:
        writer.close()
        raise


async def _response(reader: asyncio.StreamReader) -> tuple[Response, bytes]:
    parser = ResponseReader()
    try:
        while True:
            data = await reader.read(READ_BYTES)
            parser.feed(data)
            response = parser.next_response(at_eof=not data)
            if response is not None:
                return response, parser.take_rest()
    except (HttpError, OSError) as error:
        raise Unavailable(f"cannot open the stream: {error}") from None
