"""HTTP/2 framing and flow control (RFC 9113) for one connection, server or client side, without I/O.

Covers what gRPC needs: no push, no priorities (read and ignored). Feed received bytes in, get events; call the send
methods, take the bytes to be written. The caller tells with `consume` when received data no longer occupies memory,
which is what opens the peer's window again. Everything the peer sends is bounded: frame size, header list, streams,
and the control frames that may wait unsent (the caller looks at `pending`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import msgspec

from crio.wire import hpack
from crio.wire.hpack import Header
from crio.wire.http2_events import (
    DataReceived,
    ErrorCode,
    Event,
    GoingAway,
    HeadersReceived,
    PongReceived,
    StreamReset,
    WindowOpened,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65535
MAX_WINDOW = 2**31 - 1
FRAME_SIZE = 16384
"""The largest payload either side may send by default; nobody in the field sends more, so we do not ask for more."""

_HEADER = struct.Struct(">HBBBI")
_WORD = struct.Struct(">I")
_SETTING = struct.Struct(">HI")

_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_HAS_PRIORITY = 0x20


class _Frame:
    """Kinds of frames."""

    DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


class _Key:
    """Keys of a SETTINGS frame."""

    HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = range(1, 7)


class Http2Error(Exception):
    """The peer broke the protocol: the connection ends after the GOAWAY that waits in the output."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"cannot go on with HTTP/2: {reason}")
        self.code = code


class Limits(msgspec.Struct, frozen=True):
    """What one connection may make us hold. Windows in bytes."""

    streams: int = 256
    header_list: int = 65536
    stream_window: int = 1 << 20
    connection_window: int = 4 << 20


class _Stream:
    __slots__ = ("headers_seen", "local_closed", "receive_window", "remote_closed", "send_window", "unreturned")

    def __init__(self, send_window: int, receive_window: int) -> None:
        self.send_window = send_window
        self.receive_window = receive_window
        self.unreturned = 0
        self.headers_seen = False
        self.local_closed = False
        self.remote_closed = False


class Http2Connection:
    """The state of one connection. The first `take_output` carries our preface and settings."""

    def __init__(self, *, client: bool, limits: Limits | None = None) -> None:
        self._client = client
        self._limits = limits = limits or Limits()
        self._output: list[bytes] = []
        self._pending = 0
        self._input = b""
        self._awaits_preface = not client
        self._awaits_settings = True
        self._decoder = hpack.HeaderDecoder(max_list_size=limits.header_list)
        self._header_block: tuple[int, bool, bytearray] | None = None
        self._streams: dict[int, _Stream] = {}
        self._last_remote = 0
        self._highest_seen = 0
        """As `_last_remote`, with the streams that were ignored because we are going away."""
        self._next_local = 1
        self._send_window = DEFAULT_WINDOW
        self._receive_window = limits.connection_window
        self._unreturned = 0
        self._peer_window = DEFAULT_WINDOW
        self._peer_frame = FRAME_SIZE
        self._peer_table_lowered = False
        self.going_away = False
        self._initiate()

    def _initiate(self) -> None:
        settings = [(_Key.INITIAL_WINDOW, self._limits.stream_window), (_Key.MAX_HEADER_LIST, self._limits.header_list)]
        settings.append((_Key.ENABLE_PUSH, 0) if self._client else (_Key.MAX_CONCURRENT, self._limits.streams))
        if self._client:
            self._write(PREFACE)
        self._frame(_Frame.SETTINGS, 0, 0, b"".join(_SETTING.pack(*setting) for setting in settings))
        if self._limits.connection_window > DEFAULT_WINDOW:
            self._frame(_Frame.WINDOW_UPDATE, 0, 0, _WORD.pack(self._limits.connection_window - DEFAULT_WINDOW))

    # -- output

    @property
    def pending(self) -> int:
        """Bytes that wait for `take_output`."""
        return self._pending

    def take_output(self) -> bytes:
        data = b"".join(self._output)
        self._output.clear()
        self._pending = 0
        return data

    def _write(self, data: bytes) -> None:
        self._output.append(data)
        self._pending += len(data)

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        length = len(payload)
        self._output.append(_HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream_id) + payload)
        self._pending += length + 9

    # -- what the application sends

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def is_open(self, stream_id: int) -> bool:
        """Whether something may still be sent on the stream."""
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.local_closed

    def open_stream(self, headers: Iterable[Header], *, end_stream: bool = False) -> int:
        """Client: start a request and return its stream's id."""
        stream_id = self._next_local
        self._next_local += 2
        self._streams[stream_id] = _Stream(self._peer_window, self._limits.stream_window)
        self.send_headers(stream_id, hpack.encode(headers), end_stream=end_stream)
        return stream_id

    def send_headers(self, stream_id: int, block: bytes, *, end_stream: bool = False) -> None:
        """Send a header block made by `hpack.encode`. Nothing happens if the stream is gone."""
        if not self.is_open(stream_id):
            return
        if self._peer_table_lowered:
            self._peer_table_lowered = False
            block = hpack.TABLE_SIZE_ZERO + block
        flags = _END_STREAM if end_stream else 0
        kind, size = _Frame.HEADERS, self._peer_frame
        while len(block) > size:
            self._frame(kind, flags, stream_id, block[:size])
            block, kind, flags = block[size:], _Frame.CONTINUATION, 0
        self._frame(kind, flags | _END_HEADERS, stream_id, block)
        if end_stream:
            self._close_local(stream_id)

    def send_data(self, stream_id: int, data: bytes | memoryview, *, end_stream: bool = False) -> int:
        """Send as much of `data` as the windows allow, and return how much that was. END_STREAM goes with the last."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_closed:
            return len(data)
        allowed = max(min(len(data), self._send_window, stream.send_window), 0)
        if allowed == 0 and len(data):
            return 0
        stream.send_window -= allowed
        self._send_window -= allowed
        position, size = 0, self._peer_frame
        while True:
            end = min(position + size, allowed)
            last = end_stream and end == len(data)
            self._frame(_Frame.DATA, _END_STREAM if last else 0, stream_id, bytes(data[position:end]))
            position = end
            if position >= allowed:
                break
        if last:
            self._close_local(stream_id)
        return allowed

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream at once; what still arrives for it is dropped."""
        if self._streams.pop(stream_id, None) is not None:
            self._frame(_Frame.RST_STREAM, 0, stream_id, _WORD.pack(code))

    def ping(self, data: bytes) -> None:
        """Ask for a PongReceived with the same 8 bytes."""
        self._frame(_Frame.PING, 0, 0, data)

    def go_away(self, code: ErrorCode = ErrorCode.NO_ERROR, reason: bytes = b"") -> None:
        """Tell the peer that streams it opens from now on will not be served; those open now go on."""
        if not self.going_away:
            self.going_away = True
            self._frame(_Frame.GOAWAY, 0, 0, _WORD.pack(self._last_remote) + _WORD.pack(code) + reason)

    def consume(self, stream_id: int, size: int) -> None:
        """Received data no longer occupies memory: return its window once half of it is used up."""
        self._unreturned += size
        if self._unreturned * 2 >= self._limits.connection_window:
            self._receive_window += self._unreturned
            self._frame(_Frame.WINDOW_UPDATE, 0, 0, _WORD.pack(self._unreturned))
            self._unreturned = 0
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_closed:
            return
        stream.unreturned += size
        if stream.unreturned * 2 >= self._limits.stream_window:
            stream.receive_window += stream.unreturned
            self._frame(_Frame.WINDOW_UPDATE, 0, stream_id, _WORD.pack(stream.unreturned))
            stream.unreturned = 0

    def _close_local(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        stream.local_closed = True
        if stream.remote_closed:
            del self._streams[stream_id]

    def _close_remote(self, stream_id: int, stream: _Stream) -> None:
        stream.remote_closed = True
        if stream.local_closed:
            self._streams.pop(stream_id, None)

    # -- what the peer sends

    def feed(self, data: bytes) -> list[Event]:
        """The events in `data` together with what came before. Raises Http2Error."""
        events: list[Event] = []
        try:
            self._feed(self._input + data if self._input else data, events)
        except Http2Error as error:
            failure = error
        except hpack.HpackError as error:
            failure = Http2Error(ErrorCode.COMPRESSION_ERROR, str(error))
        else:
            return events
        self._input = b""
        self.going_away = False
        self.go_away(failure.code, str(failure).encode("ascii", "replace"))
        raise failure

    def _feed(self, data: bytes, events: list[Event]) -> None:
        position, end = 0, len(data)
        if self._awaits_preface:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the connection does not start with its preface")
            if end < len(PREFACE):
                self._input = data
                return
            self._awaits_preface = False
            position = len(PREFACE)
        while end - position >= 9:
            high, low, kind, flags, stream_id = _HEADER.unpack_from(data, position)
            length = high << 8 | low
            if length > FRAME_SIZE:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes is longer than {FRAME_SIZE}")
            if end - position < 9 + length:
                break
            payload = data[position + 9 : position + 9 + length]
            position += 9 + length
            self._receive(kind, flags, stream_id & MAX_WINDOW, payload, events)
        self._input = data[position:]

    def _receive(self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if self._awaits_settings:
            if kind != _Frame.SETTINGS or flags & _ACK:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._awaits_settings = False
        if self._header_block is not None and (kind != _Frame.CONTINUATION or stream_id != self._header_block[0]):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        match kind:
            case _Frame.DATA:
                self._receive_data(flags, stream_id, payload, events)
            case _Frame.HEADERS:
                self._receive_headers(flags, stream_id, payload, events)
            case _Frame.RST_STREAM:
                self._receive_reset(stream_id, payload, events)
            case _Frame.SETTINGS:
                self._receive_settings(flags, stream_id, payload, events)
            case _Frame.PUSH:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "push is not allowed")
            case _Frame.PING:
                if len(payload) != 8 or stream_id:
                    raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a PING is malformed")
                if flags & _ACK:
                    events.append(PongReceived(payload))
                else:
                    self._frame(_Frame.PING, _ACK, 0, payload)
            case _Frame.GOAWAY:
                if len(payload) < 8 or stream_id:
                    raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY is malformed")
                last, code = _WORD.unpack_from(payload)[0] & MAX_WINDOW, _WORD.unpack_from(payload, 4)[0]
                events.append(GoingAway(last, code, payload[8:]))
            case _Frame.WINDOW_UPDATE:
                self._receive_window_update(stream_id, payload, events)
            case _Frame.CONTINUATION:
                self._receive_continuation(flags, payload, events)
            case _:
                pass  # PRIORITY is deprecated, and unknown frames are for extensions

    def _receive_data(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the peer sent more than the connection's window")
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_closed:
            self._refuse_idle(stream_id)
            self.consume(0, size)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the peer sent more than a stream's window")
        data = _unpadded(flags, payload)
        if size != len(data):
            self.consume(stream_id, size - len(data))
        ended = bool(flags & _END_STREAM)
        if ended:
            self._close_remote(stream_id, stream)
        events.append(DataReceived(stream_id, data, ended))

    def _refuse_idle(self, stream_id: int) -> None:
        """A frame for a stream that we ended may be late; one for a stream that never was is an error."""
        ours = (stream_id & 1) == (1 if self._client else 0)
        known = stream_id < self._next_local if ours else stream_id <= self._highest_seen
        if not stream_id or not known:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, f"a frame is for stream {stream_id}, which was never opened")

    def _receive_headers(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        block = _unpadded(flags, payload)
        if flags & _HAS_PRIORITY:
            if len(block) < 5:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a HEADERS frame ends inside its priority")
            block = block[5:]
        if flags & _END_HEADERS:
            self._finish_headers(stream_id, bool(flags & _END_STREAM), block, events)
        else:
            self._header_block = (stream_id, bool(flags & _END_STREAM), bytearray(block))

    def _receive_continuation(self, flags: int, payload: bytes, events: list[Event]) -> None:
        if self._header_block is None:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a CONTINUATION continues nothing")
        stream_id, ended, block = self._header_block
        block += payload
        if (not payload and not flags & _END_HEADERS) or len(block) > self._limits.header_list:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too long")
        if flags & _END_HEADERS:
            self._header_block = None
            self._finish_headers(stream_id, ended, bytes(block), events)

    def _finish_headers(self, stream_id: int, ended: bool, block: bytes, events: list[Event]) -> None:
        # Decoded in any case: the compression state belongs to the connection, not to the stream.
        headers = self._decoder.decode(block)
        stream = self._streams.get(stream_id)
        if stream is None and not self._client and stream_id > self._last_remote:
            if not stream_id & 1:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a client opened a stream with an even number")
            self._highest_seen = max(stream_id, self._highest_seen)
            if self.going_away:
                return
            self._last_remote = stream_id
            if len(self._streams) >= self._limits.streams:
                self._frame(_Frame.RST_STREAM, 0, stream_id, _WORD.pack(ErrorCode.REFUSED_STREAM))
                return
            stream = self._streams[stream_id] = _Stream(self._peer_window, self._limits.stream_window)
        if stream is None or stream.remote_closed:
            self._refuse_idle(stream_id)
            return
        if not self._client and stream.headers_seen and not ended:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "trailers do not end their stream")
        stream.headers_seen = True
        if ended:
            self._close_remote(stream_id, stream)
        events.append(HeadersReceived(stream_id, headers, ended))

    def _receive_reset(self, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if len(payload) != 4:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a RST_STREAM is malformed")
        self._refuse_idle(stream_id)
        # Reported also when the peer's side was closed already: that is how a client cancels a unary call.
        if self._streams.pop(stream_id, None) is not None:
            events.append(StreamReset(stream_id, _WORD.unpack(payload)[0]))

    def _receive_settings(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if stream_id or len(payload) % 6 or (flags & _ACK and payload):
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS is malformed")
        if flags & _ACK:
            return
        for key, value in _SETTING.iter_unpack(payload):
            match key:
                case _Key.HEADER_TABLE_SIZE:
                    self._peer_table_lowered = value < hpack.DEFAULT_TABLE_SIZE
                case _Key.INITIAL_WINDOW:
                    self._change_peer_window(value, events)
                case _Key.MAX_FRAME:
                    if not FRAME_SIZE <= value < 1 << 24:
                        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is out of range")
                    self._peer_frame = min(value, 1 << 18)
                case _:
                    # Of the others one matters, how many streams there may be: whoever opens too many is told so.
                    pass
        self._frame(_Frame.SETTINGS, _ACK, 0, b"")

    def _change_peer_window(self, value: int, events: list[Event]) -> None:
        if value > MAX_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE is out of range")
        change = value - self._peer_window
        self._peer_window = value
        for stream in self._streams.values():
            stream.send_window += change
            if stream.send_window > MAX_WINDOW:
                raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window is larger than 2 GiB")
        if change > 0:
            events.append(WindowOpened(0))

    def _receive_window_update(self, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if len(payload) != 4:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a WINDOW_UPDATE is malformed")
        change = _WORD.unpack(payload)[0] & MAX_WINDOW
        if not change:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE adds nothing")
        if stream_id:
            stream = self._streams.get(stream_id)
            if stream is None:
                self._refuse_idle(stream_id)
                return
            stream.send_window += change
            window = stream.send_window
        else:
            self._send_window += change
            window = self._send_window
        if window > MAX_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window is larger than 2 GiB")
        events.append(WindowOpened(stream_id))


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame is all padding")
    return payload[1 : len(payload) - payload[0]]
