"""A light gRPC client for unix sockets: what crioctl and the daemon's own health check call with.

One connection, made when it is first needed and made again after it broke. Nothing is retried: whether a call may be
repeated is known only to who makes it.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from crio.base.errors import Code, Unavailable
from crio.rpc.status import RpcError
from crio.wire import grpc
from crio.wire.http2 import Http2Connection, Http2Error
from crio.wire.http2_events import DataReceived, ErrorCode, GoingAway, HeadersReceived, StreamReset, WindowOpened

if TYPE_CHECKING:
    from google.protobuf.message import Message

    Response = TypeVar("Response", bound=Message)
else:
    Response = TypeVar("Response")

DEFAULT_MAX_RECEIVE = 80 << 20
_CHUNK = 1 << 18


class Client:
    """Calls methods of the server at `endpoint`: `unix:///path`, or a path. Close it, or use it with `async with`."""

    _server = "the daemon"

    def __init__(self, endpoint: str, *, max_receive: int = DEFAULT_MAX_RECEIVE, connect_timeout: float = 5.0) -> None:
        self._path = endpoint.removeprefix("unix://")
        self._max_receive = max_receive
        self._connect_timeout = connect_timeout
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def unary(
        self,
        method: str,
        request: Message,
        response_type: type[Response],
        timeout: float | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> Response:
        """Call `/package.Service/Method` and return its response.

        `timeout` is in seconds; the server is told. Raises RpcError with the server's status, or Unavailable if the
        server cannot be reached.
        """
        return response_type.FromString(await self.unary_bytes(method, request.SerializeToString(), timeout, metadata))

    async def unary_bytes(
        self, method: str, request: bytes, timeout: float | None = None, metadata: Mapping[str, str] | None = None
    ) -> bytes:
        """As `unary` for messages that are encoded."""
        async with _deadline(method, timeout):
            connection = await self._connect()
            call = await connection.start(method, request, timeout, metadata or {})
            try:
                data = await call.next_message()
                if data is None or await call.next_message() is not None:
                    raise RpcError(Code.INTERNAL, f"cannot call {method}: the server did not send one response")
            finally:
                connection.leave(call)
        return data

    async def stream(
        self,
        method: str,
        request: Message,
        response_type: type[Response],
        timeout: float | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Response, None]:
        """Call a method and yield its responses as they come; closing the generator cancels the call.

        `timeout` is for the whole call. Raises as `unary`.
        """
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        async with _deadline(method, timeout):
            connection = await self._connect()
            call = await connection.start(method, request.SerializeToString(), timeout, metadata or {})
        try:
            while True:
                # Not around the yield: the time-out must not end what the caller does with a response.
                async with _deadline(method, timeout, deadline):
                    data = await call.next_message()
                if data is None:
                    return
                yield response_type.FromString(data)
        finally:
            connection.leave(call)

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _connect(self) -> _Connection:
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                connection = _Connection(self._max_receive)
                try:
                    async with asyncio.timeout(self._connect_timeout):
                        await self._dial(connection)
                except TimeoutError:
                    raise Unavailable(f"cannot connect to {self._path}: it does not accept") from None
                except OSError as error:
                    reason = error.strerror or str(error)
                    raise Unavailable(
                        f"cannot connect to {self._path}: {reason}; is {self._server} running?"
                    ) from error
                self._connection = connection
            return self._connection

    async def _dial(self, connection: asyncio.Protocol) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, self._path)


class _deadline:  # noqa: N801 - used like a function
    """`asyncio.timeout` whose end is an RpcError."""

    def __init__(self, method: str, timeout: float | None, when: float | None = None) -> None:
        self._method, self._seconds = method, timeout
        self._timeout = asyncio.timeout(timeout) if when is None else asyncio.timeout_at(when)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exc_info: Any) -> None:
        try:
            await self._timeout.__aexit__(*exc_info)
        except TimeoutError:
            text = f"cannot call {self._method}: no answer within {self._seconds:g} s"
            raise RpcError(Code.DEADLINE_EXCEEDED, text) from None


class _Call:
    __slots__ = ("error", "messages", "method", "reader", "stream_id", "waiting")

    def __init__(self, method: str, limit: int) -> None:
        self.method = method
        self.stream_id = 0
        self.reader = grpc.MessageReader(limit)
        self.messages: collections.deque[bytes] = collections.deque()
        self.error: RpcError | bool | None = None
        """None while the call runs, True after status OK."""
        self.waiting: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)

    def end(self, error: RpcError | None) -> None:
        if self.error is None:
            self.error = error or True
        self.wake()

    async def next_message(self) -> bytes | None:
        while not self.messages:
            if isinstance(self.error, RpcError):
                raise self.error
            if self.error:
                return None
            self.waiting = asyncio.get_running_loop().create_future()
            await self.waiting
        return self.messages.popleft()


class _Connection(asyncio.Protocol):
    def __init__(self, max_receive: int) -> None:
        self._http2 = Http2Connection(client=True)
        self._max_receive = max_receive
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, _Call] = {}
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.usable = True

    # -- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._http2.feed(data)
        except Http2Error as error:
            self._flush()
            self._fail(str(error))
            self.close()
            return
        for event in events:
            match event:
                case HeadersReceived():
                    self._headers_received(event)
                case DataReceived():
                    self._data_received(event)
                case StreamReset():
                    if (call := self._calls.get(event.stream_id)) is not None:
                        call.end(_broken(call.method, event.code))
                case GoingAway():
                    self.usable = False
                    for stream_id, call in self._calls.items():
                        if stream_id > event.last_stream_id:
                            call.end(RpcError(Code.UNAVAILABLE, f"cannot call {call.method}: the server is stopping"))
                case WindowOpened():
                    self._may_write.set()
                case _:
                    pass
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(str(exc) if exc else "the server closed the connection")

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    # -- called by the client

    async def start(self, method: str, message: bytes, timeout: float | None, metadata: Mapping[str, str]) -> _Call:
        if self._transport is None:
            # It broke before anything could be asked: nobody would end a call that begins now.
            raise RpcError(Code.UNAVAILABLE, f"cannot call {method}: the server closed the connection")
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata.items(),
        ]
        if timeout is not None:
            headers.append(("grpc-timeout", grpc.format_timeout(timeout)))
        call = _Call(method, self._max_receive)
        call.stream_id = self._http2.open_stream(headers)
        self._calls[call.stream_id] = call
        try:
            data = memoryview(grpc.message_prefix(len(message)) + message)
            while data and call.error is None:
                sent = self._http2.send_data(call.stream_id, data[:_CHUNK], end_stream=len(data) <= _CHUNK)
                data = data[sent:]
                self._flush()
                if data and not sent:
                    self._may_write.clear()
                if data:
                    await self._may_write.wait()
        except BaseException:
            self.leave(call)
            raise
        return call

    def leave(self, call: _Call) -> None:
        """Forget a call; the server is told if it still runs."""
        self._calls.pop(call.stream_id, None)
        self._http2.reset(call.stream_id, ErrorCode.CANCEL)
        self._flush()

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def _headers_received(self, event: HeadersReceived) -> None:
        call = self._calls.get(event.stream_id)
        if call is None:
            return
        headers = dict(event.headers)
        if (status := headers.get("grpc-status")) is not None:
            call.end(_status_error(status, headers.get("grpc-message", "")))
        elif headers.get(":status", "200") != "200":
            call.end(RpcError(Code.UNKNOWN, f"cannot call {call.method}: HTTP status {headers[':status']}"))
        elif event.end_stream:
            call.end(RpcError(Code.UNKNOWN, f"cannot call {call.method}: the server sent no status"))

    def _data_received(self, event: DataReceived) -> None:
        self._http2.consume(event.stream_id, len(event.data))
        call = self._calls.get(event.stream_id)
        if call is None:
            return
        try:
            call.messages += call.reader.feed(event.data)
        except grpc.MessageTooLong as error:
            call.end(RpcError(Code.RESOURCE_EXHAUSTED, f"cannot receive response: {error}"))
        except grpc.CompressedMessage:
            call.end(RpcError(Code.INTERNAL, "cannot receive response: it is compressed"))
        call.wake()

    def _fail(self, reason: str) -> None:
        self.usable = False
        self._may_write.set()
        for call in self._calls.values():
            call.end(RpcError(Code.UNAVAILABLE, f"cannot call {call.method}: {reason}"))

    def _flush(self) -> None:
        if self._transport is not None and self._http2.pending:
            self._transport.write(self._http2.take_output())


def _status_error(status: str, text: str) -> RpcError | None:
    code = Code(int(status)) if status.isascii() and status.isdigit() and int(status) <= 16 else Code.UNKNOWN
    return None if code is Code.OK else RpcError(code, grpc.decode_status_text(text))


def _broken(method: str, code: int) -> RpcError:
    if code == ErrorCode.REFUSED_STREAM:
        return RpcError(Code.UNAVAILABLE, f"cannot call {method}: the server has too many calls")
    return RpcError(Code.INTERNAL, f"cannot call {method}: the server reset the stream (error {code})")
