"""Serves /metrics: HTTP/1.1 on TCP (with TLS if asked for) and on a unix socket.

Only GET and HEAD of one path, one request for a connection, small limits: this may be reachable from a network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable

from crio.base.errors import AlreadyExists, Unavailable
from crio.telemetry.text import CONTENT_TYPE

log = logging.getLogger(__name__)

MAX_HEAD = 16 * 1024
MAX_CONNECTIONS = 64
TIMEOUT = 10.0


class MetricsServer:
    """Answers scrapes with what `text` returns at that moment. `start_*` may both be called; `stop` ends all.

    `look` runs in a thread before that, for what takes longer than the event loop can wait; never twice at once, so
    that many clients take one thread and not all.
    """

    def __init__(self, text: Callable[[], str], look: Callable[[], None] | None = None) -> None:
        self._text = text
        self._look = look
        self._looking = asyncio.Lock()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._path = ""

    async def start_tcp(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on an address; returns the port, for a `port` of 0. Raises Unavailable."""
        try:
            server = await asyncio.start_server(self._accept, host, port, ssl=tls, limit=MAX_HEAD)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise Unavailable(f"cannot serve metrics on {host}:{port}: {reason}") from None
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def start_unix(self, path: str) -> None:
        """Listen on a unix socket, mode 0660; a dead socket file is replaced. Raises AlreadyExists or Unavailable."""
        try:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            _remove_dead(path)
            server = await asyncio.start_unix_server(self._accept, path, limit=MAX_HEAD)
            os.chmod(path, 0o660)
        except OSError as error:
            raise Unavailable(f"cannot serve metrics on {path}: {error.strerror}") from None
        self._path = path
        self._servers.append(server)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        self._servers.clear()
        if self._path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) > MAX_CONNECTIONS:
                return
            async with asyncio.timeout(TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        parts = head.split(b"\r\n", 1)[0].split(b" ")
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
            return _response(400, "Bad Request", b"not HTTP\n")
        method, target = parts[0], parts[1].split(b"?", 1)[0]
        if target != b"/metrics":
            return _response(404, "Not Found", b"metrics are at /metrics\n")
        if method not in (b"GET", b"HEAD"):
            return _response(405, "Method Not Allowed", b"only GET\n")
        try:
            if self._look is not None:
                async with self._looking:
                    await asyncio.to_thread(self._look)
            body = self._text().encode()
        except Exception:
            log.exception("cannot write metrics")
            return _response(500, "Internal Server Error", b"cannot write metrics\n")
        return _response(200, "OK", body, CONTENT_TYPE, empty=method == b"HEAD")


def _response(status: int, reason: str, body: bytes, kind: str = "text/plain", *, empty: bool = False) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {reason}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + (b"" if empty else body)


def _remove_dead(path: str) -> None:
    """Remove a socket file that nobody listens on. Raises AlreadyExists if somebody does."""
    if not os.path.exists(path):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise AlreadyExists(f"cannot serve metrics on {path}: another process does")
