"""WebSocket (RFC 6455) handshake and framing for one connection, server or client side, without I/O or extensions.

Messages come in the pieces in which they arrived, so a large one occupies no memory. For data to be sent, a server asks
for the `header` only and sends the bytes themselves: they are never copied here.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import secrets
import struct
from collections.abc import Callable, Sequence

import msgspec

from crio.wire.http1 import Headers, HttpError, Request

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT, BINARY = 0x1, 0x2
_CONTINUATION, _CLOSE, _PING, _PONG = 0x0, 0x8, 0x9, 0xA
_FINAL = 0x80
_MASKED = 0x80

NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED, TOO_BIG, INTERNAL_ERROR = 1000, 1001, 1002, 1003, 1009, 1011
"""Close codes (RFC 6455 7.4.1)."""
_NO_STATUS = 1005


class WebSocketError(Exception):
    """The peer broke the protocol: the connection ends after the close frame that waits in the output."""

    def __init__(self, reason: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(f"cannot go on with WebSocket: {reason}")
        self.code = code


class MessagePart(msgspec.Struct, frozen=True):
    """A piece of a message."""

    data: bytes
    first: bool
    last: bool
    text: bool


class Closed(msgspec.Struct, frozen=True):
    """The peer sent its close frame; ours is in the output. Nothing may follow."""

    code: int
    reason: str


class PongReceived(msgspec.Struct, frozen=True):
    data: bytes


Event = MessagePart | Closed | PongReceived


# -- handshake


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a client's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def new_key() -> str:
    """A client's Sec-WebSocket-Key."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def offered_protocols(headers: Headers) -> list[str]:
    """The sub-protocols of a Sec-WebSocket-Protocol header, in the client's order of preference."""
    return headers.items_of("sec-websocket-protocol")


def accept_headers(request: Request, protocol: str) -> list[tuple[str, str]]:
    """The headers of the 101 response; `protocol` may be "". Raises HttpError if the request is no handshake."""
    headers = request.headers
    if request.method != "GET" or request.minor_version != 1:
        raise HttpError(400, "a WebSocket handshake is a GET in HTTP/1.1")
    if headers.get("sec-websocket-version") != "13":
        raise HttpError(426, "its Sec-WebSocket-Version is not 13")
    keys = headers.all("sec-websocket-key")
    try:
        valid = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except ValueError:
        # binascii.Error is one, and so is what is raised for characters beyond ASCII.
        valid = False
    if not valid:
        raise HttpError(400, "its Sec-WebSocket-Key is not 16 bytes in base64")
    answer = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_key(keys[0]))]
    if protocol:
        answer.append(("Sec-WebSocket-Protocol", protocol))
    return answer


def request_headers(host: str, key: str, protocols: Sequence[str]) -> list[tuple[str, str]]:
    """The headers of a client's handshake."""
    headers = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    if protocols:
        headers.append(("Sec-WebSocket-Protocol", ", ".join(protocols)))
    return headers


# -- framing


@functools.lru_cache(maxsize=1)
def _masker() -> Callable[[bytes, bytes], bytes]:
    try:
        from websockets.speedups import apply_mask  # lazy: 3 MiB, and only WebSocket clients need it
    except ImportError:
        return _mask_slowly
    return apply_mask


def _mask_slowly(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


class WebSocketConnection:
    """The state of one connection after its handshake. `max_message` bounds only what pieces of a message add up to."""

    def __init__(self, *, client: bool, max_message: int | None = None) -> None:
        self._client = client
        self._max_message = max_message
        self._output = bytearray()
        self._input = bytearray()
        self._frame: tuple[int, int, bytes, int] | None = None
        """The data frame that is being received: bytes to come, position in the mask, mask, flags."""
        self._message_kind = 0
        """Kind of the message that is being received; 0 between messages."""
        self._message_size = 0
        self._message_started = False
        self.close_sent = False
        self.close_received = False

    @property
    def pending(self) -> int:
        """Bytes that wait for `take_output`."""
        return len(self._output)

    def take_output(self) -> bytes:
        """Control frames in their order."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def header(self, kind: int, size: int) -> bytes:
        """Server: what stands before a whole message of `size` bytes in one frame, which the caller sends next."""
        return _header(kind, size, 0)

    def message(self, kind: int, data: bytes) -> bytes:
        """A whole message as one frame, masked if we are the client."""
        return self._encode(kind, data)

    def ping(self, data: bytes = b"") -> None:
        self._output += self._encode(_PING, data)

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send our close frame, once."""
        if not self.close_sent:
            self.close_sent = True
            payload = b"" if code == _NO_STATUS else struct.pack(">H", code) + reason.encode()[:123]
            self._output += self._encode(_CLOSE, payload)

    def _encode(self, kind: int, data: bytes) -> bytes:
        if not self._client:
            return _header(kind, len(data), 0) + data
        mask = secrets.token_bytes(4)
        return _header(kind, len(data), _MASKED) + mask + _masker()(data, mask)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """The events in `data` together with what came before. Raises WebSocketError."""
        events: list[Event] = []
        try:
            self._feed(memoryview(data), events)
        except WebSocketError as error:
            self.close(error.code, str(error))
            raise
        return events

    def _feed(self, data: memoryview, events: list[Event]) -> None:
        while not self.close_received:
            if self._frame is not None:
                data = self._receive_piece(data, events)
                if self._frame is not None:
                    return
            if self._input:
                self._input += data
                data = memoryview(bytes(self._input))
                self._input.clear()
            rest = self._receive_header(data, events)
            if rest is None:
                self._input += data
                return
            data = rest

    def _receive_header(self, data: memoryview, events: list[Event]) -> memoryview | None:
        """What follows the next frame's header, or its whole control frame; None if more bytes are needed."""
        if len(data) < 2:
            return None
        first, second = data[0], data[1]
        kind, size = first & 0x0F, second & 0x7F
        if first & 0x70:
            raise WebSocketError("a reserved bit is set")
        if bool(second & _MASKED) is self._client:
            raise WebSocketError("a frame from a server is masked" if self._client else "a frame is not masked")
        position = 2 + (2 if size == 126 else 8 if size == 127 else 0)
        end = position + (0 if self._client else 4)
        if len(data) < end:
            return None
        if size == 126:
            size = struct.unpack_from(">H", data, 2)[0]
        elif size == 127:
            size = struct.unpack_from(">Q", data, 2)[0]
            if size >= 1 << 63:
                raise WebSocketError("a frame is longer than 2^63 bytes")
        mask = bytes(data[position:end])
        if kind >= _CLOSE:
            return self._receive_control(first, kind, size, mask, data[end:], events)
        if kind == _CONTINUATION:
            if not self._message_kind:
                raise WebSocketError("a frame continues no message")
        elif kind not in (TEXT, BINARY) or self._message_kind:
            raise WebSocketError(f"a frame of kind {kind} is out of place")
        else:
            self._message_kind = kind
            self._message_started = False
            self._message_size = 0
        self._message_size += size
        if self._max_message is not None and self._message_size > self._max_message:
            raise WebSocketError(f"a message is longer than {self._max_message} bytes", TOO_BIG)
        self._frame = (size, 0, mask, first)
        return data[end:]

    def _receive_piece(self, data: memoryview, events: list[Event]) -> memoryview:
        assert self._frame is not None
        left, position, mask, flags = self._frame
        piece = data[:left]
        taken = len(piece)
        if left and not taken:
            return data
        left -= taken
        content = bytes(piece)
        if mask and taken:
            turn = position & 3
            content = _masker()(content, mask[turn:] + mask[:turn])
        self._frame = (left, position + taken, mask, flags) if left else None
        last = not left and bool(flags & _FINAL)
        events.append(MessagePart(content, not self._message_started, last, self._message_kind == TEXT))
        self._message_started = True
        if last:
            self._message_kind = 0
        return data[taken:]

    def _receive_control(
        self, first: int, kind: int, size: int, mask: bytes, data: memoryview, events: list[Event]
    ) -> memoryview | None:
        if not first & _FINAL or size > 125 or kind > _PONG:
            raise WebSocketError("a control frame is malformed")
        if len(data) < size:
            return None
        payload = bytes(data[:size])
        if mask:
            payload = _mask_slowly(payload, mask)
        if kind == _PING:
            if not self.close_sent:
                self._output += self._encode(_PONG, payload)
        elif kind == _PONG:
            events.append(PongReceived(payload))
        else:
            self._receive_close(payload, events)
        return data[size:]

    def _receive_close(self, payload: bytes, events: list[Event]) -> None:
        if len(payload) == 1:
            raise WebSocketError("a close frame is malformed")
        code = struct.unpack_from(">H", payload)[0] if payload else _NO_STATUS
        if payload and not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise WebSocketError(f"close code {code} is not allowed")
        self.close_received = True
        self.close(code)
        events.append(Closed(code, payload[2:].decode("utf-8", "replace")))


def _header(kind: int, size: int, masked: int) -> bytes:
    first = _FINAL | kind
    if size < 126:
        return bytes((first, masked | size))
    if size < 1 << 16:
        return struct.pack(">BBH", first, masked | 126, size)
    return struct.pack(">BBQ", first, masked | 127, size)
