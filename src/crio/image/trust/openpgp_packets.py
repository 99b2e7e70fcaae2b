"""The outer form of OpenPGP messages (RFC 4880, 4.2 and 5.6): enough to unpack a compressed one within bounds.

A few kilobytes of compressed data can become gigabytes, and a library that verifies has no limit for that. So nothing
compressed is handed on. Pure.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator

from crio.image.trust.rejection import Rejection

_COMPRESSED = 8
_MAX_PACKETS = 64
_MAX_NESTING = 2
MAX_CONTENT = 1 << 20
"""Bytes that a signature may have when it is unpacked; real ones have a few hundred."""


def uncompressed(message: bytes) -> bytes:
    """The message without compression around or inside it. Raises Rejection for what is malformed or too long."""
    for _ in range(_MAX_NESTING):
        if len(message) > MAX_CONTENT:
            raise Rejection(f"it is longer than {MAX_CONTENT} bytes")
        packets = list(_packets(message))
        compressed = [body for tag, body in packets if tag == _COMPRESSED]
        if not compressed:
            return message
        if len(packets) > 1:
            raise Rejection("it has compressed data beside other packets")
        message = _inflate(compressed[0])
    raise Rejection("it is compressed several times over")


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet."""
    position = 0
    for _ in range(_MAX_PACKETS):
        if position >= len(data):
            return
        first = data[position]
        position += 1
        if not first & 0x80:
            raise Rejection("it is no OpenPGP message")
        if first & 0x40:
            tag = first & 0x3F
            body, position = _new_body(data, position)
        else:
            tag, size = (first >> 2) & 0x0F, first & 0x03
            if size == 3:  # as long as the data are
                yield tag, data[position:]
                return
            width = 1 << size
            length = int.from_bytes(_take(data, position, width), "big")
            body = _take(data, position + width, length)
            position += width + length
        yield tag, body
    raise Rejection(f"it has more than {_MAX_PACKETS} packets")


def _new_body(data: bytes, position: int) -> tuple[bytes, int]:
    """The body of a packet with a new-format header, which may come in parts; and where it ends."""
    parts = []
    while True:
        first = _take(data, position, 1)[0]
        partial = 224 <= first < 255
        if first < 192:
            length, width = first, 1
        elif first < 224:
            length, width = ((first - 192) << 8) + _take(data, position + 1, 1)[0] + 192, 2
        elif partial:
            length, width = 1 << (first & 0x1F), 1
        else:
            length, width = int.from_bytes(_take(data, position + 1, 4), "big"), 5
        parts.append(_take(data, position + width, length))
        position += width + length
        if not partial:
            return b"".join(parts), position


def _take(data: bytes, position: int, length: int) -> bytes:
    taken = data[position : position + length]
    if len(taken) != length:
        raise Rejection("it is cut off")
    return taken


def _inflate(body: bytes) -> bytes:
    algorithm, data = body[:1], body[1:]
    try:
        match algorithm:
            case b"\0":
                content = data
            case b"\1":
                content = zlib.decompressobj(-15).decompress(data, MAX_CONTENT + 1)
            case b"\2":
                content = zlib.decompressobj().decompress(data, MAX_CONTENT + 1)
            case b"\3":
                content = bz2.BZ2Decompressor().decompress(data, MAX_CONTENT + 1)
            case _:
                raise Rejection("its compression is not known")
    except (zlib.error, OSError, EOFError):
        raise Rejection("its compressed data are damaged") from None
    return content
