"""SPDY/3.1 framing, header compression and flow control for one connection, server or client side, without I/O.

Kubernetes still speaks this draft for exec, attach and port-forward. Feed received bytes in, get events; data comes in
the pieces in which it arrived, so a frame of 16 MiB occupies no memory. For data to be sent, `data_header` gives what
stands before it and the caller sends the bytes themselves: they are never copied here.

Flow control: the Go library of the field (spdystream) neither sends window updates nor looks at them, and would wait
for ever if it were held to 64 KiB. A peer is therefore held to windows once it has sent a SETTINGS or WINDOW_UPDATE
itself. What it may send to us is announced and given back as the protocol wants; the caller bounds what it buffers.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterable, Mapping

import msgspec

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)


def dictionary() -> bytes:
    """What both sides' header compression starts with: words as they stand in a header block, then common values."""
    words = (word.replace("_", " ").encode() for word in _WORDS.split())
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _TAIL.encode()


VERSION = 3
DEFAULT_WINDOW = 65536
MAX_WINDOW = 2**31 - 1
MAX_DATA = 2**24 - 1

_FIN = 0x1
_UNIDIRECTIONAL = 0x2
_INITIAL_WINDOW = 7
_MAX_CONCURRENT = 4

_WORD = struct.Struct(">I")
_TWO_WORDS = struct.Struct(">II")
_CONTROL = struct.Struct(">HHI")


class _Frame:
    """Kinds of control frames."""

    SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9


class ResetCode(enum.IntEnum):
    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    FRAME_TOO_LARGE = 11


class SpdyError(Exception):
    """The peer broke the protocol or a limit: the connection ends after the GOAWAY that waits in the output."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot go on with SPDY: {reason}")


class StreamOpened(msgspec.Struct, frozen=True):
    """The peer opened a stream; the caller answers with `reply` or `reset`."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool


class StreamReplied(msgspec.Struct, frozen=True):
    stream_id: int
    headers: Mapping[str, str]
    fin: bool


class DataReceived(msgspec.Struct, frozen=True):
    """A piece of a data frame; a view into what was fed, which is valid until the next `feed`."""

    stream_id: int
    data: memoryview
    fin: bool


class StreamReset(msgspec.Struct, frozen=True):
    stream_id: int
    code: int


class WindowOpened(msgspec.Struct, frozen=True):
    """More may be sent on this stream; on every stream if it is 0."""

    stream_id: int


class PongReceived(msgspec.Struct, frozen=True):
    ping_id: int


class GoingAway(msgspec.Struct, frozen=True):
    last_stream_id: int
    code: int


Event = StreamOpened | StreamReplied | DataReceived | StreamReset | WindowOpened | PongReceived | GoingAway


class Limits(msgspec.Struct, frozen=True):
    """What a peer may make us hold: bytes of a control frame and of its headers once unpacked, streams, windows.

    `header_count` is of one frame. A few bytes unpack to thousands of empty headers, each of which costs time.
    """

    control_frame: int = 65536
    headers: int = 65536
    header_count: int = 100
    streams: int = 1024
    window: int = 1 << 20


class _Stream:
    __slots__ = ("granted", "local_closed", "remote_closed", "unreturned")

    def __init__(self) -> None:
        self.granted = 0
        """What may be sent beyond the peer's initial window, which it may change: negative once something was sent."""
        self.unreturned = 0
        self.local_closed = False
        self.remote_closed = False


class SpdyConnection:
    """The state of one connection. The first `take_output` carries our settings."""

    def __init__(self, *, client: bool, limits: Limits | None = None) -> None:
        self._client = client
        self._limits = limits or Limits()
        self._output = bytearray()
        self._input = bytearray()
        self._data: tuple[int, int, bool] | None = None
        """The data frame that is being received: stream, bytes to come, FIN."""
        self._streams: dict[int, _Stream] = {}
        self._last_remote = 0
        self._next_local = 1 if client else 2
        self._next_ping = 1 if client else 2
        words = dictionary()
        # A window of 2 KiB holds the dictionary and costs 10 KiB of memory in place of 256.
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, 11, 2, zdict=words)
        self._inflate = zlib.decompressobj(zdict=words)
        self._windows_kept = False
        """Whether the peer takes part in flow control."""
        self._peer_window = DEFAULT_WINDOW
        self._send_window = DEFAULT_WINDOW
        self._unreturned = 0
        self.going_away = False
        settings = [(_INITIAL_WINDOW, self._limits.window)]
        if not client:
            settings.append((_MAX_CONCURRENT, self._limits.streams))
        body = b"".join(_TWO_WORDS.pack(key, value) for key, value in settings)
        self._control(_Frame.SETTINGS, 0, _WORD.pack(len(settings)) + body)
        if self._limits.window > DEFAULT_WINDOW:
            self._control(_Frame.WINDOW_UPDATE, 0, _TWO_WORDS.pack(0, self._limits.window - DEFAULT_WINDOW))

    # -- output

    @property
    def pending(self) -> int:
        """Bytes that wait for `take_output`."""
        return len(self._output)

    def take_output(self) -> bytes:
        """Control frames in their order; they must be sent before data whose header was made later."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        self._output += _CONTROL.pack(0x8000 | VERSION, kind, flags << 24 | len(payload)) + payload

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def is_open(self, stream_id: int) -> bool:
        """Whether something may still be sent on the stream."""
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.local_closed

    def open_stream(self, headers: Mapping[str, str], *, fin: bool = False) -> int:
        """Open a stream and return its id. Names of headers are sent in lower case."""
        stream_id = self._next_local
        self._next_local += 2
        stream = self._streams[stream_id] = _Stream()
        stream.local_closed = fin
        block = self._pack_headers(headers)
        self._control(_Frame.SYN_STREAM, _FIN if fin else 0, _TWO_WORDS.pack(stream_id, 0) + b"\0\0" + block)
        return stream_id

    def reply(self, stream_id: int, headers: Mapping[str, str] | None = None) -> None:
        """Accept a stream that the peer opened."""
        if self.is_open(stream_id):
            block = self._pack_headers(headers or {})
            self._control(_Frame.SYN_REPLY, 0, _WORD.pack(stream_id) + block)

    def window(self, stream_id: int) -> int:
        """How many bytes may be sent on the stream now. 0 also if it is closed: see `is_open`."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_closed:
            return 0
        if not self._windows_kept:
            return MAX_DATA
        return max(min(self._peer_window + stream.granted, self._send_window, MAX_DATA), 0)

    def data_header(self, stream_id: int, size: int, *, fin: bool = False) -> bytes:
        """What stands before `size` bytes of data, which the caller sends next. `size` is at most `window`."""
        stream = self._streams[stream_id]
        stream.granted -= size
        self._send_window -= size
        if fin:
            self._close_local(stream_id)
        return _TWO_WORDS.pack(stream_id, (_FIN if fin else 0) << 24 | size)

    def end(self, stream_id: int) -> None:
        """Half-close: no more data comes from us."""
        if self.is_open(stream_id):
            self._output += self.data_header(stream_id, 0, fin=True)

    def reset(self, stream_id: int, code: ResetCode) -> None:
        """End a stream at once; what still arrives for it is dropped."""
        if self._streams.pop(stream_id, None) is not None:
            self._control(_Frame.RST_STREAM, 0, _TWO_WORDS.pack(stream_id, code))

    def ping(self) -> int:
        """Ask for a PongReceived with the returned id."""
        ping_id = self._next_ping
        self._next_ping += 2
        self._control(_Frame.PING, 0, _WORD.pack(ping_id))
        return ping_id

    def go_away(self, code: int = 0) -> None:
        """Tell the peer that we end. `code`: 0 normal, 1 protocol error, 2 internal error."""
        if not self.going_away:
            self.going_away = True
            self._control(_Frame.GOAWAY, 0, _TWO_WORDS.pack(self._last_remote, code))

    def consume(self, stream_id: int, size: int) -> None:
        """Received data no longer occupies memory: return its window once half of it is used up."""
        self._unreturned += size
        if self._unreturned * 2 >= self._limits.window:
            self._control(_Frame.WINDOW_UPDATE, 0, _TWO_WORDS.pack(0, self._unreturned))
            self._unreturned = 0
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_closed:
            return
        stream.unreturned += size
        if stream.unreturned * 2 >= self._limits.window:
            self._control(_Frame.WINDOW_UPDATE, 0, _TWO_WORDS.pack(stream_id, stream.unreturned))
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

    # -- input

    def feed(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """The events in `data` together with what came before. Raises SpdyError."""
        events: list[Event] = []
        try:
            self._feed(memoryview(data), events)
        except SpdyError:
            self.go_away(1)
            raise
        return events

    def _feed(self, data: memoryview, events: list[Event]) -> None:
        while True:
            if self._data is not None:
                stream_id, left, fin = self._data
                piece = data[:left]
                data = data[left:]
                left -= len(piece)
                self._data = (stream_id, left, fin) if left else None
                if piece:
                    self._receive_data(stream_id, piece, fin and not left, events)
                if left:
                    return
            if self._input:
                self._input += data
                data = memoryview(bytes(self._input))
                self._input.clear()
            if len(data) < 8:
                self._input += data
                return
            first, second = _TWO_WORDS.unpack_from(data)
            flags, length = second >> 24, second & MAX_DATA
            if not first & 0x80000000:
                data = data[8:]
                if length:
                    self._data = (first, length, bool(flags & _FIN))
                else:
                    self._receive_data(first, data[:0], bool(flags & _FIN), events)
                continue
            if length > self._limits.control_frame:
                raise SpdyError(f"a control frame of {length} bytes is longer than {self._limits.control_frame}")
            if len(data) < 8 + length:
                self._input += data
                return
            self._receive_control(first >> 16 & 0x7FFF, first & 0xFFFF, flags, bytes(data[8 : 8 + length]), events)
            data = data[8 + length :]

    def _receive_data(self, stream_id: int, data: memoryview, fin: bool, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_closed:
            if not stream_id or stream_id > max(self._last_remote, self._next_local):
                raise SpdyError(f"data is for stream {stream_id}, which was never opened")
            self.consume(0, len(data))
            return
        if fin:
            self._close_remote(stream_id, stream)
        events.append(DataReceived(stream_id, data, fin))

    def _receive_control(self, version: int, kind: int, flags: int, payload: bytes, events: list[Event]) -> None:
        if version != VERSION:
            raise SpdyError(f"a frame has version {version}")
        try:
            match kind:
                case _Frame.SYN_STREAM:
                    self._receive_open(flags, payload, events)
                case _Frame.SYN_REPLY:
                    self._receive_reply(flags, payload, events)
                case _Frame.RST_STREAM:
                    stream_id, code = _TWO_WORDS.unpack(payload)
                    if self._streams.pop(stream_id, None) is not None:
                        events.append(StreamReset(stream_id, code))
                case _Frame.SETTINGS:
                    self._receive_settings(payload, events)
                case _Frame.PING:
                    self._receive_ping(_WORD.unpack(payload)[0], events)
                case _Frame.GOAWAY:
                    events.append(GoingAway(*_TWO_WORDS.unpack(payload)))
                case _Frame.HEADERS:
                    self._unpack_headers(payload[4:])  # of no meaning here, but the compression state must see them
                case _Frame.WINDOW_UPDATE:
                    stream_id, change = _TWO_WORDS.unpack(payload)
                    self._receive_window_update(stream_id, change, events)
                case _:
                    pass
        except struct.error:
            raise SpdyError(f"a control frame of kind {kind} is malformed") from None

    def _receive_open(self, flags: int, payload: bytes, events: list[Event]) -> None:
        stream_id = _WORD.unpack_from(payload)[0] & MAX_WINDOW
        headers = self._unpack_headers(payload[10:])
        theirs = 0 if self._client else 1
        if stream_id & 1 != theirs or stream_id <= self._last_remote:
            raise SpdyError(f"stream {stream_id} is opened out of order")
        self._last_remote = stream_id
        if self.going_away:
            return
        if len(self._streams) >= self._limits.streams:
            self._control(_Frame.RST_STREAM, 0, _TWO_WORDS.pack(stream_id, ResetCode.REFUSED_STREAM))
            return
        stream = self._streams[stream_id] = _Stream()
        stream.remote_closed = bool(flags & _FIN)
        stream.local_closed = bool(flags & _UNIDIRECTIONAL)
        events.append(StreamOpened(stream_id, headers, stream.remote_closed))

    def _receive_reply(self, flags: int, payload: bytes, events: list[Event]) -> None:
        stream_id = _WORD.unpack_from(payload)[0] & MAX_WINDOW
        headers = self._unpack_headers(payload[4:])
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        fin = bool(flags & _FIN)
        if fin:
            self._close_remote(stream_id, stream)
        events.append(StreamReplied(stream_id, headers, fin))

    def _receive_ping(self, ping_id: int, events: list[Event]) -> None:
        ours = ping_id & 1 == (1 if self._client else 0)
        if ours:
            events.append(PongReceived(ping_id))
        else:
            self._control(_Frame.PING, 0, _WORD.pack(ping_id))

    def _receive_settings(self, payload: bytes, events: list[Event]) -> None:
        count = _WORD.unpack_from(payload)[0]
        if len(payload) != 4 + 8 * count:
            raise SpdyError("a SETTINGS is malformed")
        for key, value in _TWO_WORDS.iter_unpack(payload[4:]):
            if key & 0xFFFFFF == _INITIAL_WINDOW:
                if value > MAX_WINDOW:
                    raise SpdyError("the initial window is larger than 2 GiB")
                self._windows_kept = True
                self._peer_window = value
                events.append(WindowOpened(0))

    def _receive_window_update(self, stream_id: int, change: int, events: list[Event]) -> None:
        self._windows_kept = True
        change &= MAX_WINDOW
        if stream_id:
            stream = self._streams.get(stream_id)
            if stream is None:
                return
            stream.granted += change
            window = self._peer_window + stream.granted
        else:
            self._send_window += change
            window = self._send_window
        if window > MAX_WINDOW:
            raise SpdyError("a window is larger than 2 GiB")
        events.append(WindowOpened(stream_id))

    # -- headers

    def _pack_headers(self, headers: Mapping[str, str]) -> bytes:
        block = bytearray(_WORD.pack(len(headers)))
        for text in _flatten(headers.items()):
            data = text.encode("utf-8")
            block += _WORD.pack(len(data)) + data
        return self._deflate.compress(bytes(block)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _unpack_headers(self, packed: bytes) -> dict[str, str]:
        limit = self._limits.headers
        try:
            block = self._inflate.decompress(packed, limit + 1)
        except zlib.error as error:
            raise SpdyError(f"headers cannot be unpacked: {error}") from None
        if len(block) > limit or self._inflate.unconsumed_tail:
            raise SpdyError(f"headers are longer than {limit} bytes once unpacked")
        if self._inflate.eof:
            raise SpdyError("the header compression was ended")
        headers: dict[str, str] = {}
        count, position = _WORD.unpack_from(block)[0], 4
        if count > self._limits.header_count:
            raise SpdyError(f"a stream has more than {self._limits.header_count} headers")
        for _ in range(count):
            name, position = _read_text(block, position)
            value, position = _read_text(block, position)
            # Several values of one name are separated by NUL; nobody in this field sends more than one.
            headers[name.lower()] = value.partition("\0")[0]
        return headers


def _flatten(headers: Iterable[tuple[str, str]]) -> Iterable[str]:
    for name, value in headers:
        yield name.lower()
        yield value


def _read_text(block: bytes, position: int) -> tuple[str, int]:
    end = position + 4 + _WORD.unpack_from(block, position)[0]
    if end > len(block):
        raise SpdyError("a header ends outside its block")
    return block[position + 4 : end].decode("utf-8", "replace"), end
