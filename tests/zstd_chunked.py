"""A writer of zstd:chunked layers for tests, for the right ones and the wrong ones. Real ones are in corpus/."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from typing import Any

from backports import zstd

from crio.wire.crc64 import load as load_crc64
from crio.wire.tar import Kind, TarEntry, TarReader
from crio.wire.tarsplit import TarSplitEncoder

PREFIX = "io.github.containers.zstd-chunked."
_SKIPPABLE = 0x184D2A50
_TYPES = {Kind.FILE: "reg", Kind.DIRECTORY: "dir", Kind.SYMLINK: "symlink", Kind.HARD_LINK: "hardlink"}


def chunked(tar: bytes, **changes: Any) -> tuple[bytes, dict[str, str]]:
    """The blob of an uncompressed layer, and its descriptor's annotations.

    `changes`: `entry(fields)` is called for each entry of the table before it is written, `table(document)` for the
    whole, `records(bytes)` for the tar-split records.
    """
    blob, entries, records = bytearray(), [], bytearray()
    encoder, crc64 = TarSplitEncoder(), load_crc64()
    plain = bytearray()
    for entry, content, tail in _members(tar):
        records += encoder.segment(tail if entry is None else entry.header)
        plain += tail if entry is None else entry.header
        if entry is None:
            continue
        fields: dict[str, Any] = {"type": _TYPES[entry.kind], "name": entry.name.decode(), "mode": entry.mode}
        if entry.kind is Kind.FILE:
            records += encoder.file(entry.name, entry.size, crc64(content, 0))
            if content:
                blob += zstd.compress(bytes(plain))
                plain.clear()
                fields |= {"size": len(content), "digest": sha256(content), "offset": len(blob)}
                blob += zstd.compress(content)
                fields["endOffset"] = len(blob)
        changes.get("entry", lambda fields: None)(fields)
        entries.append(fields)
    blob += zstd.compress(bytes(plain))
    split = changes.get("records", lambda data: data)(bytes(records))
    packed_split = zstd.compress(split)
    document = {"version": 1, "entries": entries, "tarSplitDigest": sha256(packed_split)}
    changes.get("table", lambda document: None)(document)
    table = json.dumps(document).encode()
    packed = zstd.compress(table)
    table_at = _skippable(blob, packed)
    split_at = _skippable(blob, packed_split)
    _skippable(blob, bytes(64))
    return bytes(blob), {
        PREFIX + "manifest-checksum": sha256(packed),
        PREFIX + "manifest-position": f"{table_at}:{len(packed)}:{len(table)}:1",
        PREFIX + "tarsplit-position": f"{split_at}:{len(packed_split)}:{len(split)}",
    }


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def names(tar: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return archive.getnames()


def _members(tar: bytes) -> list[tuple[TarEntry | None, bytes, bytes]]:
    found: list[tuple[TarEntry | None, bytes, bytes]] = []
    reader = TarReader()
    for event in (*reader.feed(tar), *reader.finish()):
        if isinstance(event, TarEntry):
            found.append((event, b"", b""))
        elif isinstance(event, bytes):
            entry, content, _ = found[-1]
            found[-1] = entry, content + event, b""
        else:
            found.append((None, b"", event.raw))
    return found


def _skippable(blob: bytearray, data: bytes) -> int:
    blob += struct.pack("<II", _SKIPPABLE, len(data))
    start = len(blob)
    blob += data
    return start
