"""Delivers traces to an OpenTelemetry collector: unary gRPC calls over TCP."""

from __future__ import annotations

import asyncio

from crio.base.errors import InvalidArgument
from crio.rpc.client import Client

_MAX_RECEIVE = 1 << 20
_TIMEOUT = 10.0


class TraceSender:
    """Sends encoded ExportTraceServiceRequests to `endpoint` (HOST:PORT); `send` is what an Exporter wants."""

    def __init__(self, endpoint: str, method: str) -> None:
        host, _, port = endpoint.removeprefix("http://").rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
            raise InvalidArgument(f'cannot send traces to "{endpoint}": tracing_endpoint must be HOST:PORT')
        self._client = _TcpClient(host.strip("[]"), int(port))
        self._method = method

    async def send(self, request: bytes) -> None:
        """Raises CrioError if the collector cannot be reached, refuses, or does not answer within ten seconds."""
        await self._client.unary_bytes(self._method, request, _TIMEOUT)

    async def close(self) -> None:
        await self._client.close()


class _TcpClient(Client):
    _server = "the collector"

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}", max_receive=_MAX_RECEIVE)
        self._address = (host, port)

    async def _dial(self, connection: asyncio.Protocol) -> None:
        await asyncio.get_running_loop().create_connection(lambda: connection, *self._address)
