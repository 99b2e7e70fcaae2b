"""The daemon's socket: gRPC and HTTP/1 side by side, told apart by the first bytes of each connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import stat
import struct
from collections.abc import Mapping, Sequence
from typing import cast

from crio.base.errors import AlreadyExists, FailedPrecondition, Unavailable
from crio.base.tasks import TaskScope
from crio.rpc.grpc_connection import GrpcConnection, GrpcService, chain
from crio.rpc.http_connection import HttpConnection, HttpHandler
from crio.rpc.listener import Listener
from crio.rpc.service import Interceptor, Method, Peer
from crio.wire import http2

log = logging.getLogger(__name__)

DEFAULT_MAX_MESSAGE = 80 << 20
"""Bytes; the default of grpc_max_recv_msg_size and grpc_max_send_msg_size."""
_FIRST_BYTES_TIMEOUT = 30.0
_BACKLOG = 512
_UCRED = struct.Struct("3i")

_Connection = GrpcConnection | HttpConnection


class Server:
    """Serves gRPC methods, and HTTP/1 requests if a handler for them is given, on one unix socket.

    `methods` comes from `service.service_table`. The first interceptor is the outermost. A connection above
    `max_connections` is closed as soon as it is accepted.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        http_handler: HttpHandler | None = None,
        interceptors: Sequence[Interceptor] = (),
        max_receive: int = DEFAULT_MAX_MESSAGE,
        max_send: int = DEFAULT_MAX_MESSAGE,
        max_connections: int = 1024,
    ) -> None:
        start, counter = os.urandom(3).hex(), itertools.count()
        self._service = GrpcService(
            methods=methods,
            calls={path: chain(method, interceptors) for path, method in methods.items()},
            new_request_id=lambda: f"{start}-{next(counter)}",
            max_receive=max_receive,
            max_send=max_send,
            receive_budget=2 * max_receive,
        )
        self._http_handler = http_handler
        self._max_connections = max_connections
        self._connections: set[_Connection | _Opening] = set()
        self._listener: Listener | None = None
        self._path = ""
        self._inode = 0
        self._starting = TaskScope("rpc")

    async def listen(self, path: str, *, mode: int = 0o660) -> None:
        """Start serving on `path`. A socket file that nobody listens on is replaced.

        Raises AlreadyExists if another process answers there, FailedPrecondition if the path is something else than a
        socket, Unavailable if it cannot be made.
        """
        listener = bind_unix(path, mode)
        self._path, self._inode = path, os.stat(path).st_ino
        listener.listen(_BACKLOG)
        self._listener = Listener(path, listener, self._accept)

    async def stop(self, grace: float) -> None:
        """Accept nothing more, give running calls `grace` seconds to end, cancel the rest, and close all connections.

        Streaming calls that never end by themselves must be ended by their owner first, or they use up the grace.
        """
        if self._listener is not None:
            self._listener.close()
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == self._inode:
                    os.unlink(self._path)
        await self._starting.join()
        for connection in list(self._connections):
            connection.stop()
        if self._service.running:
            await asyncio.wait(list(self._service.running), timeout=grace)
        for connection in list(self._connections):
            connection.abort()
        if self._service.running:
            await asyncio.wait(list(self._service.running), timeout=1.0)
        for connection in list(self._connections):
            connection.close()

    def statistics(self) -> dict[str, int]:
        """Connections, calls that run, and bytes of requests that are being received."""
        return {
            "connections": len(self._connections),
            "calls": len(self._service.running),
            "receiving_bytes": self._service.receiving,
        }

    # -- called by the listener and by connections

    def _accept(self, connection: socket.socket) -> None:
        if len(self._connections) >= self._max_connections:
            log.warning("connection refused: %d are open already", len(self._connections))
            connection.close()
            return
        opening = _Opening(self)
        self._connections.add(opening)
        loop = asyncio.get_running_loop()
        self._starting.spawn("connection", loop.connect_accepted_socket(lambda: opening, connection))

    def closed(self, connection: _Connection | _Opening) -> None:
        self._connections.discard(connection)

    def choose(self, opening: _Opening, transport: asyncio.Transport, *, grpc: bool) -> _Connection:
        """The protocol that takes the connection over."""
        connection: _Connection
        if grpc:
            connection = GrpcConnection(self._service, _peer_of(transport), self.closed)
        else:
            connection = HttpConnection(self._http_handler, self._service.running, self.closed)
        self._connections.discard(opening)
        self._connections.add(connection)
        return connection


class _Opening(asyncio.Protocol):
    """A connection that has not yet said which protocol it speaks."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(_FIRST_BYTES_TIMEOUT, self.abort)

    def data_received(self, data: bytes) -> None:
        self._data += data
        start = self._data[: len(http2.PREFACE)]
        if len(start) < len(http2.PREFACE) and http2.PREFACE.startswith(start):
            return
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._forget_timer()
        connection = self._server.choose(self, transport, grpc=start == http2.PREFACE)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(self._data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        self._server.closed(self)

    def stop(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        self.abort()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bind_unix(path: str, mode: int) -> socket.socket:
    """A unix socket that is bound to `path` with `mode` and not yet listening. Raises as `Server.listen`."""
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
        _remove_dead(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            listener.bind(path)
            os.chmod(path, mode)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise Unavailable(f"cannot listen on {path}: {error.strerror or error}") from error
    return listener


def _remove_dead(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FailedPrecondition(f"cannot listen on {path}: it exists and is not a socket; remove it")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its backlog is full: it lives
    raise AlreadyExists(f"cannot listen on {path}: another process answers there; stop it or choose another socket")


def _peer_of(transport: asyncio.Transport) -> Peer | None:
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    return Peer(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))
