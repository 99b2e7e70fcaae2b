"""What stands in the fields of tar headers: numbers, times, and the records of pax extended headers."""

from __future__ import annotations

import re
from functools import lru_cache

from crio.base.errors import InvalidArgument

XATTR = b"SCHILY.xattr."
"""How the pax keys of extended attributes begin."""

_NUMBER = re.compile(rb"[0-9]{1,20}")


class TarError(InvalidArgument):
    """The bytes are not a tar archive, or one beyond the limits."""


@lru_cache(maxsize=512)
def octal(field: bytes) -> int:
    """A numeric header field: octal digits, or base-256 (big-endian, two's complement) if the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        if field[0] & 0x40:
            return value - (1 << bits)
        return value & ~(1 << (bits - 1))
    digits = field.strip(b" \0")
    if not digits:
        return 0
    digits = digits.partition(b"\0")[0].strip(b" ")
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise TarError(f"cannot read tar archive: {field!r} is not a number")
    return int(digits, 8)


def decimal(text: bytes) -> int:
    """A number in a pax record or a sparse map."""
    if not _NUMBER.fullmatch(text):
        raise TarError(f"cannot read tar archive: {text[:40]!r} is not a number")
    return int(text)


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """The records of a pax extended header. Sparse files 0.0, which repeat two keys, come out as 0.1 (one map)."""
    records: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    at, size = 0, len(data)
    while at < size:
        # As a rule a record is a line; only attribute values contain line feeds, so the length has the last word.
        line_end = data.find(b"\n", at)
        digits, _, record = data[at:line_end].partition(b" ")
        if line_end < 0 or not digits.isdigit() or len(digits) > 20:
            raise TarError("cannot read tar archive: a pax header is malformed")
        stop = at + int(digits)
        if stop != line_end + 1:
            if stop > size or stop <= line_end or data[stop - 1] != 0x0A:
                raise TarError("cannot read tar archive: a pax header is malformed")
            record = data[at + len(digits) + 1 : stop - 1]
        key, equals, value = record.partition(b"=")
        if not equals or not key or b"\0" in key:
            raise TarError("cannot read tar archive: a pax header is malformed")
        at = stop
        if key.startswith(XATTR):
            records[key] = value
            continue
        if b"\0" in value:
            raise TarError(f"cannot read tar archive: the pax value of {key[:100]!r} contains a zero byte")
        if key == b"GNU.sparse.offset" or key == b"GNU.sparse.numbytes":
            pieces.append(value)
        elif value:
            records[key] = value
        else:
            records.pop(key, None)
    if pieces:
        records[b"GNU.sparse.map"] = b",".join(pieces)
    return records


def parse_time(text: bytes) -> int:
    """A pax time, decimal seconds with an optional fraction, in nanoseconds; what lies below one is cut."""
    seconds, _, fraction = text.partition(b".")
    negative = seconds.startswith(b"-")
    if negative:
        seconds = seconds[1:]
    if not seconds.isdigit() or len(seconds) > 20 or (fraction and not fraction.isdigit()):
        raise TarError(f"cannot read tar archive: {text[:40]!r} is not a time")
    value = int(seconds) * 1_000_000_000 + (int(fraction[:9].ljust(9, b"0")) if fraction else 0)
    return -value if negative else value
