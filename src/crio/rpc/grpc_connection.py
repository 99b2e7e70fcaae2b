"""One HTTP/2 connection of a gRPC client: its streams, the calls that run for them, and what goes back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from google.protobuf.message import DecodeError

from crio.base.errors import Code, Internal, ResourceExhausted
from crio.rpc.service import Call, Context, Interceptor, Method, Peer
from crio.rpc.status import is_fault, status_of
from crio.wire import grpc, hpack
from crio.wire.http2 import Http2Connection, Http2Error
from crio.wire.http2_events import (
    DataReceived,
    ErrorCode,
    GoingAway,
    HeadersReceived,
    PongReceived,
    StreamReset,
    WindowOpened,
)

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
"""Bytes of a message that are handed to the transport before its back-pressure is looked at."""
_MAX_UNREAD = 1 << 20
"""Bytes of answers to pings and settings that a client may leave unread."""

_MAX_RUNNING = 1024
"""Calls of all clients that may run at once, also those whose client is gone and that still undo their work."""

_OK = hpack.encode([(":status", "200"), ("content-type", "application/grpc")])
_OK_TRAILERS = hpack.encode([("grpc-status", "0")])


class GrpcService(msgspec.Struct):
    """What all connections of a server share. Sizes in bytes."""

    methods: Mapping[str, Method]
    calls: Mapping[str, Call]
    new_request_id: Callable[[], str]
    max_receive: int
    max_send: int
    receive_budget: int
    """Bytes of incomplete requests that all connections together may hold."""
    receiving: int = 0
    running: set[asyncio.Task[None]] = msgspec.field(default_factory=set)


def chain(method: Method, interceptors: Sequence[Interceptor]) -> Call:
    """The handler of a unary method with all interceptors around it; the first one is the outermost."""

    async def unary(request: Any, context: Context) -> Any:
        return await cast("Any", method.handler(request, context))

    async def streaming(request: Any, context: Context) -> None:
        send = cast("_StreamingContext", context).send
        responses = cast("AsyncIterator[Any]", method.handler(request, context))
        close = getattr(responses, "aclose", None)
        async with contextlib.AsyncExitStack() as stack:
            if close is not None:
                stack.push_async_callback(close)
            async for response in responses:
                await send(response)

    call: Call = streaming if method.streaming else unary
    for interceptor in reversed(interceptors):
        call = _around(method, interceptor, call)
    return call


def _around(method: Method, interceptor: Interceptor, call_next: Call) -> Call:
    def call(request: Any, context: Context) -> Any:
        return interceptor(method, request, context, call_next)

    return call


class _StreamingContext(Context):
    """The context of a streaming call also knows where its responses go."""

    send: Any = None


class _Call:
    """One stream: first its request is gathered, then its task runs."""

    __slots__ = ("context", "expired", "method", "reader", "request", "started", "task", "timer")

    def __init__(self, method: Method, context: Context, limit: int) -> None:
        self.method = method
        self.context = context
        self.reader = grpc.MessageReader(limit)
        self.request: bytes | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.expired = False
        self.started = False


class GrpcConnection(asyncio.Protocol):
    """Serves the calls of one client. `on_close` is called once when it is gone."""

    def __init__(self, service: GrpcService, peer: Peer | None, on_close: Callable[[GrpcConnection], None]) -> None:
        self._service = service
        self._peer = peer
        self._on_close = on_close
        self._http2 = Http2Connection(client=False)
        self._calls: dict[int, _Call] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._may_write = True
        self._waiting: asyncio.Future[None] | None = None
        self._stopping = False

    # -- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._http2.feed(data)
        except Http2Error as error:
            log.warning("connection closed: %s", error)
            self._flush()
            self.close()
            return
        for event in events:
            match event:
                case HeadersReceived():
                    self._headers_received(event)
                case DataReceived():
                    self._data_received(event)
                case StreamReset():
                    self._drop(event.stream_id)
                case GoingAway():
                    # The client ends: its open calls still get their answers.
                    self._stopping = True
                case WindowOpened():
                    self._wake()
                case PongReceived():
                    pass
        self._flush()
        self._close_if_done()
        if not self._may_write and self._transport is not None:
            waiting = self._transport.get_write_buffer_size()
            if waiting > _MAX_UNREAD + _CHUNK:
                log.warning("connection closed: its client sends and does not read, %d bytes wait for it", waiting)
                self._transport.abort()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for stream_id in list(self._calls):
            self._drop(stream_id)
        self._wake()
        self._on_close(self)

    # -- called by the server

    @property
    def idle(self) -> bool:
        return not self._calls

    def stop(self) -> None:
        """Take no more calls and close when the running ones are answered."""
        self._stopping = True
        self._http2.go_away()
        self._flush()
        self._close_if_done()

    def abort(self) -> None:
        """Cancel what runs; its clients are told."""
        for call in self._calls.values():
            if call.task is not None:
                call.task.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # -- requests

    def _headers_received(self, event: HeadersReceived) -> None:
        stream_id = event.stream_id
        if stream_id in self._calls:  # trailers of the request: allowed, and of no meaning
            if event.end_stream:
                self._request_ended(stream_id, self._calls[stream_id])
            return
        metadata = dict(event.headers)
        if metadata.get(":method") != "POST":
            self._refuse_http(stream_id, 405)
            return
        if not metadata.get("content-type", "").startswith("application/grpc"):
            self._refuse_http(stream_id, 415)
            return
        path = metadata.get(":path", "")
        method = self._service.methods.get(path)
        if method is None:
            self._finish(stream_id, Code.UNIMPLEMENTED, self._unknown(path))
            return
        if len(self._service.running) >= _MAX_RUNNING:
            self._http2.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        timeout = None
        if (text := metadata.get("grpc-timeout")) is not None:
            timeout = grpc.parse_timeout(text)
            if timeout is None:
                self._finish(stream_id, Code.INTERNAL, f"malformed grpc-timeout {text[:20]!r}")
                return
        self._calls[stream_id] = self._new_call(stream_id, method, metadata, timeout)
        if event.end_stream:
            self._request_ended(stream_id, self._calls[stream_id])

    def _new_call(self, stream_id: int, method: Method, metadata: dict[str, str], timeout: float | None) -> _Call:
        request_id = metadata.get("x-request-id") or self._service.new_request_id()
        deadline = None if timeout is None else self._loop.time() + timeout
        context: Context
        if method.streaming:

            async def send(response: Any) -> None:
                await self._send_response(stream_id, call, response)

            context = _StreamingContext(method.path, request_id, deadline, metadata, self._peer, send)
        else:
            context = Context(method.path, request_id, deadline, metadata, self._peer)
        call = _Call(method, context, self._service.max_receive)
        if deadline is not None:
            call.timer = self._loop.call_at(deadline, self._expire, stream_id, call)
        return call

    def _data_received(self, event: DataReceived) -> None:
        call = self._calls.get(event.stream_id)
        size = len(event.data)
        # Gathered requests are bounded by the shared budget, so the window is given back at once.
        self._http2.consume(event.stream_id, size)
        if call is None:
            return
        service = self._service
        before = call.reader.buffered
        try:
            messages = call.reader.feed(event.data)
        except grpc.MessageTooLong as error:
            self._end(event.stream_id, call, Code.RESOURCE_EXHAUSTED, f"cannot receive request: {error}")
            return
        except grpc.CompressedMessage:
            self._end(event.stream_id, call, Code.UNIMPLEMENTED, "cannot receive request: compression is not supported")
            return
        finally:
            service.receiving += call.reader.buffered - before
        if service.receiving > service.receive_budget:
            self._end(
                event.stream_id, call, Code.RESOURCE_EXHAUSTED, "cannot receive request: too many large ones at once"
            )
            return
        if messages:
            if call.request is not None or len(messages) > 1:
                self._end(event.stream_id, call, Code.INTERNAL, "cannot receive request: more than one message")
                return
            call.request = messages[0]
        if event.end_stream:
            self._request_ended(event.stream_id, call)

    def _request_ended(self, stream_id: int, call: _Call) -> None:
        if call.request is None:
            self._end(stream_id, call, Code.INTERNAL, "cannot receive request: the message is missing or cut off")
            return
        call.task = task = self._loop.create_task(self._run(stream_id, call), name=call.context.method)
        self._service.running.add(task)
        task.add_done_callback(self._service.running.discard)

    def _unknown(self, path: str) -> str:
        service, _, name = path.removeprefix("/").partition("/")
        if any(method.service == service for method in self._service.methods.values()):
            return f"unknown method {name} for service {service}"
        return f"unknown service {service}"

    # -- the call

    async def _run(self, stream_id: int, call: _Call) -> None:
        """The boundary: whatever a handler raises ends here, as a status."""
        code, text = Code.OK, ""
        try:
            data, call.request = call.request, None
            try:
                request = call.method.request_type.FromString(data or b"")
            except DecodeError:
                # With grpc-go's code.
                raise Internal(f"cannot read the request: it is no {call.method.request_type.__name__}") from None
            response = await self._service.calls[call.method.path](request, call.context)
            if not call.method.streaming:
                await self._send_response(stream_id, call, response)
        except asyncio.CancelledError:
            if call.expired:
                code, text = Code.DEADLINE_EXCEEDED, "the call's deadline has passed"
            elif self._stopping:
                code, text = Code.UNAVAILABLE, "the daemon is stopping"
            else:
                code, text = Code.CANCELLED, "the call was cancelled"
        except Exception as error:  # the RPC boundary
            code, text = status_of(error)
            if is_fault(error):
                log.exception("%s failed (request %s)", call.context.method, call.context.request_id)
        if self._calls.get(stream_id) is call:
            self._end(stream_id, call, code, text)
            self._flush()
            self._close_if_done()

    async def _send_response(self, stream_id: int, call: _Call, response: Any) -> None:
        message = response if isinstance(response, bytes) else response.SerializeToString()
        size = len(message)
        if size > self._service.max_send:
            raise ResourceExhausted(
                f"cannot send response: {size} bytes are more than grpc_max_send_msg_size, {self._service.max_send}"
            )
        if not call.started:
            call.started = True
            self._http2.send_headers(stream_id, _OK)
        data = memoryview(grpc.message_prefix(size) + message)
        while data:
            if not self._may_write or (sent := self._http2.send_data(stream_id, data[:_CHUNK])) == 0:
                await self._wait_writable()
                continue
            data = data[sent:]
            if data or call.method.streaming:
                self._flush()

    def _expire(self, stream_id: int, call: _Call) -> None:
        call.timer = None
        call.expired = True
        if call.task is not None:
            call.task.cancel()
        else:
            self._end(stream_id, call, Code.DEADLINE_EXCEEDED, "the call's deadline passed before its request arrived")
            self._flush()

    def _drop(self, stream_id: int) -> None:
        """The client gave the call up."""
        call = self._calls.get(stream_id)
        if call is not None:
            self._forget(stream_id, call)
            if call.task is not None:
                call.task.cancel()

    def _end(self, stream_id: int, call: _Call, code: Code, text: str) -> None:
        self._forget(stream_id, call)
        if call.started and code is Code.OK:
            self._http2.send_headers(stream_id, _OK_TRAILERS, end_stream=True)
            self._http2.reset(stream_id, ErrorCode.NO_ERROR)
        else:
            self._finish(stream_id, code, text, trailers_only=not call.started)

    def _forget(self, stream_id: int, call: _Call) -> None:
        del self._calls[stream_id]
        self._service.receiving -= call.reader.buffered
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None

    def _finish(self, stream_id: int, code: Code, text: str, *, trailers_only: bool = True) -> None:
        headers = [(":status", "200"), ("content-type", "application/grpc")] if trailers_only else []
        headers.append(("grpc-status", str(int(code))))
        if text:
            headers.append(("grpc-message", grpc.encode_status_text(text)))
        self._http2.send_headers(stream_id, hpack.encode(headers), end_stream=True)
        # A client that is still sending its request is told that nobody reads it.
        self._http2.reset(stream_id, ErrorCode.NO_ERROR)

    def _refuse_http(self, stream_id: int, status: int) -> None:
        self._http2.send_headers(stream_id, hpack.encode([(":status", str(status))]), end_stream=True)
        self._http2.reset(stream_id, ErrorCode.NO_ERROR)

    # -- output

    def _flush(self) -> None:
        if self._transport is not None and self._http2.pending:
            self._transport.write(self._http2.take_output())

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _wait_writable(self) -> None:
        """Wait until a window opened, the transport drained, or the connection ended."""
        if self._waiting is None or self._waiting.done():
            self._waiting = self._loop.create_future()
        self._flush()
        await asyncio.shield(self._waiting)

    def _close_if_done(self) -> None:
        if self._stopping and not self._calls:
            self.close()
