"""One HTTP/1 connection: its requests are answered one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from crio.base.errors import Code, CrioError
from crio.rpc.status import status_of
from crio.wire.http1 import HttpError, Request, RequestReader, Response, encode_response

log = logging.getLogger(__name__)

HttpHandler = Callable[[Request], Awaitable[Response]]

_IDLE_TIMEOUT = 120.0
_MAX_WAITING = 1 << 16
"""Bytes of further requests that are read while one is being answered."""
_STATUS = {Code.INVALID_ARGUMENT: 400, Code.NOT_FOUND: 404, Code.PERMISSION_DENIED: 403, Code.UNIMPLEMENTED: 501}


class HttpConnection(asyncio.Protocol):
    """Serves the requests of one client with `handler`, or answers 404 to all of them."""

    def __init__(
        self,
        handler: HttpHandler | None,
        running: set[asyncio.Task[None]],
        on_close: Callable[[HttpConnection], None],
    ) -> None:
        self._handler = handler
        self._running = running
        """The tasks of all connections that answer requests."""
        self._on_close = on_close
        self._reader = RequestReader()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._last = False
        self._may_write = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._task is None:
            self._next()
            return
        self._waiting += len(data)
        if self._waiting > _MAX_WAITING and self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if self._task is None:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
        self._on_close(self)

    def stop(self) -> None:
        """Close when the running request is answered."""
        self._last = True
        if self._task is None:
            self.close()

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _next(self) -> None:
        """Answer the next request, unless the client should read first."""
        if not self._may_write or self._last:
            return
        try:
            request = self._reader.next_request()
        except HttpError as error:
            log.warning("connection closed: %s", error)
            self._last = True
            self._write(_plain(error.status, str(error)), keep_alive=False)
            self.close()
            return
        if request is not None:
            self._stop_timer()
            self._task = self._loop.create_task(self._answer(request), name=f"{request.method} {request.path[:100]}")
            self._running.add(self._task)
            self._task.add_done_callback(self._running.discard)

    async def _answer(self, request: Request) -> None:
        keep_alive = request.keep_alive
        try:
            response = await self._handler(request) if self._handler is not None else _plain(404, "not found")
        except asyncio.CancelledError:
            response, self._last = _plain(503, "the daemon is stopping"), True
        except CrioError as error:
            response = _plain(_STATUS.get(error.code, 500), error.message)
        except Exception as error:  # the RPC boundary
            log.exception("%s %s failed", request.method, request.path[:100])
            response = _plain(500, status_of(error)[1])
        keep_alive = keep_alive and not self._last
        self._write(response, keep_alive=keep_alive, to_head_request=request.method == "HEAD")
        self._task = None
        if not keep_alive:
            self.close()
        elif self._transport is not None:
            self._waiting = 0
            self._transport.resume_reading()
            self._start_timer()
            self._next()

    def _write(self, response: Response, *, keep_alive: bool, to_head_request: bool = False) -> None:
        if self._transport is not None:
            self._transport.write(encode_response(response, keep_alive=keep_alive, to_head_request=to_head_request))

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(_IDLE_TIMEOUT, self.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _plain(status: int, text: str) -> Response:
    return Response(status, text.encode() + b"\n", "text/plain; charset=utf-8")
