"""The table of contents of a zstd:chunked layer: which file lies where in the blob, and what it is. Pure.

Such a layer is a tar compressed by zstd, where every file's content is a piece of its own. Behind it, in frames that a
decompressor skips, lie the table (JSON) and tar-split records, by which the very same tar can be put together from the
files. Annotations of the layer's descriptor say where the two are, and what digest the table has.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import msgspec

from crio.base.jsontext import UNREADABLE
from crio.image.compression import Compression, expander
from crio.image.errors import BadImage
from crio.spec.oci_image import Descriptor

MAX_COMPRESSED = 16 << 20
MAX_TABLE = 32 << 20
"""Bytes, compressed and expanded, of table or records; a layer beyond that is fetched as any other."""
MAX_RECORDS = 1 << 30
_MAX_SPAN = 2 * MAX_COMPRESSED
"""Bytes from the first to the last of table and records: they are fetched as one piece, into memory."""

_PREFIX = "io.github.containers.zstd-chunked."
_TABLE_PLACE = re.compile(r"(\d{1,18}):(\d{1,18}):(\d{1,18}):1")
_RECORDS_PLACE = re.compile(r"(\d{1,18}):(\d{1,18}):(\d{1,18})")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Place(msgspec.Struct, frozen=True):
    """Compressed bytes inside the blob, and how many they are when expanded."""

    start: int
    stop: int
    size: int


class Places(msgspec.Struct, frozen=True):
    """Where a layer's table and records lie; `digest` is that of the compressed table."""

    table: Place
    records: Place
    digest: str

    @property
    def start(self) -> int:
        return min(self.table.start, self.records.start)

    @property
    def stop(self) -> int:
        return max(self.table.stop, self.records.stop)


class FileEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A member; for a regular file with content where its compressed bytes lie, and their digest when expanded."""

    type: str = ""
    name: str = ""
    size: int = 0
    digest: str = ""
    offset: int = 0
    end_offset: int = 0

    @property
    def has_content(self) -> bool:
        return self.type == "reg" and self.size > 0


class Table(msgspec.Struct, frozen=True, rename="camel"):
    version: int = 0
    entries: tuple[FileEntry, ...] = ()
    tar_split_digest: str = ""


_decoder = msgspec.json.Decoder(Table)


def places_of(layer: Descriptor) -> Places | None:
    """Where the layer's table is; None if it is not zstd:chunked, or larger than what is used."""
    if not layer.media_type.endswith("+zstd"):
        return None
    notes = layer.annotations or {}
    table = _place(_TABLE_PLACE, notes.get(_PREFIX + "manifest-position", ""), layer.size, MAX_TABLE)
    records = _place(_RECORDS_PLACE, notes.get(_PREFIX + "tarsplit-position", ""), layer.size, MAX_RECORDS)
    digest = notes.get(_PREFIX + "manifest-checksum", "")
    if table is None or records is None or not _DIGEST.fullmatch(digest):
        return None
    places = Places(table, records, digest)
    return places if places.stop - places.start <= _MAX_SPAN else None


def parse_table(compressed: bytes, places: Places) -> tuple[bytes, Table]:
    """The table as JSON and as values. Raises BadImage."""
    if "sha256:" + hashlib.sha256(compressed).hexdigest() != places.digest:
        raise BadImage("cannot use the layer's table of contents: it has another digest than its annotation says")
    data = b"".join(expand(compressed, places.table.size))
    return data, decode_table(data)


def decode_table(data: bytes) -> Table:
    """Raises BadImage."""
    try:
        table = _decoder.decode(data)
    except UNREADABLE as error:
        raise BadImage(f"cannot use the layer's table of contents: {error}") from None
    if table.version != 1:
        raise BadImage(f"cannot use the layer's table of contents: it has version {table.version}")
    return table


def check_records(compressed: bytes, table: Table) -> None:
    """Raises BadImage unless these are the table's tar-split records."""
    if "sha256:" + hashlib.sha256(compressed).hexdigest() != table.tar_split_digest:
        raise BadImage("cannot use the layer's tar-split records: they have another digest than its table says")


def expand(compressed: bytes, size: int) -> Iterator[bytes]:
    """The expanded bytes of a place. Raises BadImage if they are not zstd, or not `size` bytes."""
    stream = expander(Compression.ZSTD)
    left = size
    for piece in stream.feed(compressed):
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise BadImage("cannot use the layer's table of contents: its size is not the one of its annotation")
    stream.finish()


class TableTap:
    """Keeps the table of a layer that passes by as a whole."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._kept = bytearray()

    def pass_on(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks."""
        start, stop = self._places.table.start, self._places.table.stop
        position = 0
        for chunk in chunks:
            end = position + len(chunk)
            if end > start and position < stop:
                self._kept += chunk[max(start - position, 0) : stop - position]
            position = end
            yield chunk

    def table(self) -> bytes | None:
        """The table as JSON, once all has passed; None if it is not one."""
        try:
            return parse_table(bytes(self._kept), self._places)[0]
        except BadImage:
            return None


def _place(pattern: re.Pattern[str], text: str, blob_size: int, limit: int) -> Place | None:
    match = pattern.fullmatch(text)
    if match is None:
        return None
    start, length, size = (int(number) for number in match.groups())
    if not (0 < length <= MAX_COMPRESSED and 0 < size <= limit and 0 < start <= start + length <= blob_size):
        return None
    return Place(start, start + length, size)
