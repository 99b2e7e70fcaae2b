"""What an HTTP/2 connection (http2.py) tells its owner of."""

from __future__ import annotations

import enum

import msgspec

from crio.wire.hpack import Header


class ErrorCode(enum.IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class HeadersReceived(msgspec.Struct, frozen=True):
    """A request, a response or its trailers (the first and second block of a stream)."""

    stream_id: int
    headers: list[Header]
    end_stream: bool


class DataReceived(msgspec.Struct, frozen=True):
    stream_id: int
    data: bytes
    end_stream: bool


class StreamReset(msgspec.Struct, frozen=True):
    stream_id: int
    code: int


class WindowOpened(msgspec.Struct, frozen=True):
    """More may be sent on this stream; on every stream if it is 0."""

    stream_id: int


class GoingAway(msgspec.Struct, frozen=True):
    """The peer takes no streams above `last_stream_id` any more."""

    last_stream_id: int
    code: int
    reason: bytes


class PongReceived(msgspec.Struct, frozen=True):
    data: bytes


Event = HeadersReceived | DataReceived | StreamReset | WindowOpened | GoingAway | PongReceived
