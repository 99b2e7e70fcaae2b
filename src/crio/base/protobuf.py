"""Messages put together of parts that were encoded before (protobuf.dev/programming-guides/encoding).

For answers that are long lists of what has hardly changed. A message is the concatenation of its fields, in any order;
of a field that occurs twice the later value holds, and sub-messages are merged.
"""

from __future__ import annotations

from collections.abc import Iterable

_LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """A number from 0 on, seven bits to the byte."""
    if value < 128:
        return bytes((value,))
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def number_field(number: int, value: int) -> bytes:
    """A field with a number or enumerator from 0 on; it is written also when it is 0."""
    return varint(number << 3) + varint(value)


def field(number: int, data: bytes) -> bytes:
    """A field with a message, string or bytes."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(data)) + data


def repeated(number: int, items: Iterable[bytes]) -> bytes:
    """A repeated field of messages."""
    tag = varint(number << 3 | _LENGTH_DELIMITED)
    parts: list[bytes] = []
    for item in items:
        parts += (tag, varint(len(item)), item)
    return b"".join(parts)
