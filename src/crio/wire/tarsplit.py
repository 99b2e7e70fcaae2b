"""tar-split records: what of a layer's tar is not file content, so that the very same tar can be put together again.

One JSON object a line. A segment (type 2) holds raw bytes: headers, padding, the end. A file (type 1) stands for one
member and names the file whose content comes here, with its length and CRC-64. The store keeps them gzip'ed beside the
layer. Pure text to values and back; reading the files is the caller's affair (storage/export.py).
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Any, NamedTuple

from crio.base.errors import DataLoss

MAX_LINE = 24 << 20
"""Bytes of one record; a segment with the longest legal headers is 22 MiB in base64."""

_PLAIN = re.compile(rb"[ !#-\[\]-~]*")


class Segment(NamedTuple):
    raw: bytes


class File(NamedTuple):
    name: bytes
    """As it stands in the archive: it may begin with `./` or `/`, and must be resolved safely."""
    size: int
    crc64: int
    """CRC-64/ISO of the content; 0 if `size` is 0."""


class TarSplitEncoder:
    """Numbers the records of one layer."""

    def __init__(self) -> None:
        self._position = 0

    def segment(self, raw: bytes) -> bytes:
        line = b'{"type":2,"payload":"%b","position":%d}\n' % (
            binascii.b2a_base64(raw, newline=False),
            self._position,
        )
        self._position += 1
        return line

    def file(self, name: bytes, size: int, crc64: int) -> bytes:
        if size:
            payload = binascii.b2a_base64(crc64.to_bytes(8, "big"), newline=False)
            line = b'{"type":1,%b"size":%d,"payload":"%b","position":%d}\n' % (
                _name(name),
                size,
                payload,
                self._position,
            )
        else:
            line = b'{"type":1,%b"payload":null,"position":%d}\n' % (_name(name), self._position)
        self._position += 1
        return line


def decode(line: bytes) -> Segment | File:
    """One record. Raises DataLoss if it is none."""
    try:
        record: dict[str, Any] = json.loads(line)
        payload = binascii.a2b_base64(record.get("payload") or "", strict_mode=True)
        if record["type"] == 2:
            return Segment(payload)
        if record["type"] != 1:
            raise ValueError(f"type {record['type']}")
        name = (
            binascii.a2b_base64(record["name_raw"], strict_mode=True)
            if record.get("name_raw")
            else str(record.get("name") or "").encode("utf-8", "surrogateescape")
        )
        size = int(record.get("size") or 0)
        if size < 0 or (size and len(payload) != 8):
            raise ValueError("impossible size or checksum")
        return File(name, size, int.from_bytes(payload, "big") if size else 0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataLoss(f"cannot read tar-split record {line[:80]!r}: {error}") from None


def _name(name: bytes) -> bytes:
    if _PLAIN.fullmatch(name):
        return b'"name":"%b",' % name
    try:
        return b'"name":%b,' % json.dumps(name.decode(), ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return b'"name_raw":"%b",' % binascii.b2a_base64(name, newline=False)
