"""Delivers traces to an OpenTelemetry collector: unary gRPC calls over TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from crio.base.errors import InvalidArgument, Unavailable
from crio.rpc.client import Client, _Connection

if TYPE_CHECKING:
    from google.protobuf.message import Message

_MAX_RECEIVE = 1 << 20
_TIMEOUT = 10.0


class TraceSender:
    """Sends encoded ExportTraceServiceRequests to `endpoint` (HOST:PORT); `send` is what an Exporter wants."""

    def __init__(self, endpoint: str, method: str) -> None:
        host, _, port = endpoint.removeprefix("http://").rpartition(":")
        if not host or not port.isascii() or not port.isdigit():
            raise InvalidArgument(f'cannot send traces to "{endpoint}": tracing_endpoint must be HOST:PORT')
        self._client = _TcpClient(host.strip("[]"), int(port))
        self._method = method

    async def send(self, request: bytes) -> None:
        """Raises CrioError if the collector cannot be reached, refuses, or does not answer within ten seconds."""
        message = cast("Message", _Encoded(request))
        await self._client.unary(self._method, message, cast("type[Message]", _Encoded), _TIMEOUT)

    async def close(self) -> None:
        await self._client.close()


class _Encoded:
    """A message that is encoded already, or need not be decoded."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self._data

    FromString: Callable[[bytes], _Encoded]


_Encoded.FromString = _Encoded


class _TcpClient(Client):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}", max_receive=_MAX_RECEIVE)
        self._address = (host, port)

    async def _connect(self) -> _Connection:
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                loop = asyncio.get_running_loop()
                try:
                    async with asyncio.timeout(self._connect_timeout):
                        _, self._connection = await loop.create_connection(
                            lambda: _Connection(self._max_receive), *self._address
                        )
                except TimeoutError:
                    raise Unavailable(f"cannot connect to {self._path}: no answer in time") from None
                except OSError as error:
                    raise Unavailable(f"cannot connect to {self._path}: {error.strerror or error}") from None
            return self._connection
