"""gRPC over HTTP/2 as bytes: message frames, time-outs, status texts (grpc/doc/PROTOCOL-HTTP2.md). No I/O."""

from __future__ import annotations

import struct
import urllib.parse

from crio.base.regex import regex

PREFIX_SIZE = 5
_PREFIX = struct.Struct(">BI")
_TIMEOUT = regex(r"[0-9]{1,8}[HMSmun]")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class MessageTooLong(Exception):
    """A message's prefix announces more bytes than the limit; nothing of it was kept."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"message of {length} bytes is larger than the limit of {limit}")
        self.length, self.limit = length, limit


class CompressedMessage(Exception):
    """A message is compressed though no encoding was agreed on."""


def message_prefix(length: int) -> bytes:
    """What stands before an uncompressed message of `length` bytes."""
    return _PREFIX.pack(0, length)


class MessageReader:
    """Cuts the data of one stream into messages of at most `limit` bytes each."""

    __slots__ = ("_buffer", "_limit", "_wanted")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._wanted = -1

    @property
    def buffered(self) -> int:
        """Bytes that are held for a message that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes. Raises MessageTooLong or CompressedMessage."""
        messages: list[bytes] = []
        buffer = self._buffer
        if not buffer and len(data) >= PREFIX_SIZE:
            # The usual case, one small message in one frame, is cut without a copy into the buffer.
            length = self._read_prefix(data)
            if len(data) == PREFIX_SIZE + length:
                self._wanted = -1
                return [data[PREFIX_SIZE:]]
        buffer += data
        while len(buffer) >= PREFIX_SIZE:
            if self._wanted < 0:
                self._wanted = self._read_prefix(buffer)
            end = PREFIX_SIZE + self._wanted
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                messages.append(bytes(view[PREFIX_SIZE:end]))
            del buffer[:end]
            self._wanted = -1
        return messages

    def _read_prefix(self, data: bytes | bytearray) -> int:
        compressed, length = _PREFIX.unpack_from(data)
        if length > self._limit:
            raise MessageTooLong(length, self._limit)
        if compressed:
            raise CompressedMessage
        return int(length)


def parse_timeout(text: str) -> float | None:
    """Seconds of a grpc-timeout value, None if it is malformed."""
    if not _TIMEOUT.fullmatch(text):
        return None
    return int(text[:-1]) * _UNITS[text[-1]]


def format_timeout(seconds: float) -> str:
    """A grpc-timeout value of at most eight digits, not below 1 ns."""
    for unit, size in (("n", 1e-9), ("u", 1e-6), ("m", 1e-3), ("S", 1.0)):
        amount = int(seconds / size)
        if amount < 10**8:
            return f"{max(amount, 1)}{unit}"
    return f"{min(int(seconds / 3600), 10**8 - 1)}H"


def encode_status_text(text: str) -> str:
    """A grpc-message value: percent-encoded UTF-8, so that no control or non-ASCII character is in a header."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return text
    return "".join(
        chr(octet) if 0x20 <= octet <= 0x7E and octet != 0x25 else f"%{octet:02X}"
        for octet in text.encode("utf-8", "replace")
    )


def decode_status_text(value: str) -> str:
    """The text behind a grpc-message value; what is malformed is kept as it stands."""
    return urllib.parse.unquote_to_bytes(value.encode("latin-1")).decode("utf-8", "replace")
