"""A zstd:chunked layer put together from files that the store has in other layers, and ranges of the blob for the rest.

What comes out is the layer's uncompressed tar, byte for byte as its maker wrote it. It is unpacked like any other, and
its digest must be the diff id that the image's configuration names: so neither the table nor what other layers say
about their files has to be trusted.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import msgspec

from crio.base.errors import CrioError, DataLoss, InvalidArgument
from crio.image.compression import Compression, expander
from crio.image.errors import BadImage
from crio.image.transfer import toc
from crio.image.transfer.toc import FileEntry, Places, Table
from crio.linux.openat2 import open_in_root
from crio.storage import layer_data
from crio.storage.store import Store
from crio.storage.unpack import clean
from crio.wire import tarsplit
from crio.wire.tarsplit import Segment

KEY = "crio-zstd-chunked-table"
"""The item of a layer's data that has its table, as it came."""
_FOREIGN_KEY = "zstd-chunked-manifest"
"""The same where containers/storage has put it."""
_MAX_TABLES = 128
_MAX_READ = 64 << 20
"""Layers whose tables are looked at for one layer, and bytes of these tables."""
WORTH = 0.75
"""Share of the blob above which it is not worth fetching by parts."""
GAP = 64 << 10
"""Bytes between two wanted ranges that are fetched with them: less than another request costs."""
_PIECE = 256 << 10

GetPart = Callable[[int, int], "Generator[bytes, None, None] | None"]
"""Bytes of the blob from a first to before a last."""


class PartsUnusable(Exception):
    """The layer cannot be had by parts, or it is not worth it: it must be fetched as a whole."""


class LocalFile(msgspec.Struct, frozen=True):
    layer_id: str
    name: bytes


class Plan(msgspec.Struct, frozen=True):
    """What is here and what is to be fetched of a layer."""

    table_data: bytes
    records: bytes
    records_size: int
    entries: Mapping[bytes, deque[FileEntry]]
    """By name, in the archive's order."""
    local: Mapping[str, LocalFile]
    """By digest."""
    ranges: Sequence[tuple[int, int]]
    fetched: int
    """Bytes of the blob that are to be fetched, with table and records."""


def make_plan(store: Store, places: Places, blob_size: int, get_part: GetPart) -> Plan:
    """Read the layer's table and look for its files in the store. Raises PartsUnusable, and what `get_part` raises."""
    if not any(True for _ in _holders(store)):
        raise PartsUnusable("no layer here has a table of its files")
    tail = get_part(places.start, places.stop)
    if tail is None:
        raise PartsUnusable("its source has no parts")
    try:
        data = b"".join(tail)
        table_data, table = toc.parse_table(_cut(data, places, places.table), places)
        records = _cut(data, places, places.records)
        toc.check_records(records, table)
    except CrioError as error:
        raise PartsUnusable(error.message) from None
    files = [entry for entry in table.entries if entry.has_content]
    local = find_local(store, {entry.digest: entry.size for entry in files if entry.digest})
    ranges = _ranges(files, local, places.start)
    fetched = len(data) + sum(stop - start for start, stop in ranges)
    if fetched > WORTH * blob_size:
        raise PartsUnusable(f"only {len(local)} of its {len(files)} files are here")
    return Plan(table_data, records, places.records.size, _by_name(table), local, ranges, fetched)


def find_local(store: Store, wanted: Mapping[str, int]) -> dict[str, LocalFile]:
    """Files of layers in the store that are said to have these digests (and sizes)."""
    found: dict[str, LocalFile] = {}
    budget = _MAX_READ
    for number, (layer_id, key) in enumerate(_holders(store)):
        if len(found) == len(wanted) or number >= _MAX_TABLES or budget <= 0:
            break
        try:
            data = layer_data.read(store, layer_id, key)
            budget -= len(data)
            entries = toc.decode_table(data).entries
        except (CrioError, OSError):
            continue
        for entry in entries:
            if entry.has_content and entry.digest not in found and wanted.get(entry.digest) == entry.size:
                found[entry.digest] = LocalFile(layer_id, entry.name.encode())
    return found


class Assembler:
    """Makes the tar of one layer by a plan. Used once."""

    def __init__(self, store: Store, plan: Plan, get_part: GetPart, on_position: Callable[[int], None]) -> None:
        """`on_position` is told how far in the blob the work is."""
        self._store = store
        self._plan = plan
        self._on_position = on_position
        self._parts = _Parts(plan.ranges, get_part)
        self._roots: dict[str, list[int]] = {}

    def tar(self) -> Generator[bytes, None, None]:
        """The uncompressed tar, in pieces of some 256 KiB. Raises PartsUnusable, and what `get_part` raises."""
        waiting: list[bytes] = []
        size = 0
        for piece in self._pieces():
            waiting.append(piece)
            size += len(piece)
            if size >= _PIECE:
                yield b"".join(waiting)
                waiting.clear()
                size = 0
        yield b"".join(waiting)

    def _pieces(self) -> Iterator[bytes]:
        try:
            for record in _records(self._plan.records, self._plan.records_size):
                if isinstance(record, Segment):
                    yield record.raw
                elif record.size:
                    yield from self._content(record.name, record.size)
        except (InvalidArgument, DataLoss, OSError) as error:
            raise PartsUnusable(str(error)) from None
        finally:
            self._parts.close()
            for descriptors in self._roots.values():
                for fd in descriptors:
                    os.close(fd)

    def _content(self, name: bytes, size: int) -> Iterator[bytes]:
        waiting = self._plan.entries.get(clean(name))
        entry = waiting.popleft() if waiting else None
        if entry is None or entry.size != size:
            raise PartsUnusable("its table and its tar-split records differ")
        local = self._plan.local.get(entry.digest)
        pieces = self._from_store(local) if local is not None else self._fetched(entry)
        left = size
        for piece in pieces:
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise PartsUnusable("a file has another length than its table says")
        self._on_position(entry.end_offset)

    def _fetched(self, entry: FileEntry) -> Iterator[bytes]:
        stream = expander(Compression.ZSTD)
        for chunk in self._parts.read(entry.offset, entry.end_offset):
            yield from stream.feed(chunk)
        stream.finish()

    def _from_store(self, file: LocalFile) -> Iterator[bytes]:
        fd = self._open(file)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise PartsUnusable("a file in the store is not what its layer's table says")
            while piece := os.read(fd, _PIECE):
                yield piece
        finally:
            os.close(fd)

    def _open(self, file: LocalFile) -> int:
        roots = self._roots.get(file.layer_id)
        if roots is None:
            roots = self._roots[file.layer_id] = []
            for path in self._store.driver.own_directories(file.layer_id):
                roots.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        for root in roots:
            with contextlib.suppress(OSError):
                return open_in_root(root, clean(file.name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        raise PartsUnusable(f"a file of layer {file.layer_id} is gone")


class _Parts:
    """Reads wanted bytes out of ranges, in rising order."""

    def __init__(self, ranges: Sequence[tuple[int, int]], get_part: GetPart) -> None:
        self._ranges = deque(ranges)
        self._get_part = get_part
        self._stream: Generator[bytes, None, None] | None = None
        self._rest = b""
        self._position = 0
        self._stop = 0

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        while self._stop < stop:
            self.close()
            if not self._ranges:
                raise PartsUnusable("its files do not lie in the blob in their order")
            self._position, self._stop = self._ranges.popleft()
            self._stream = self._get_part(self._position, self._stop)
        if start < self._position:
            raise PartsUnusable("its files overlap in the blob")
        while self._position < stop:
            chunk = self._rest or next(self._stream or iter(()), b"")
            if not chunk:
                raise PartsUnusable("a range ended too early")
            used = min(len(chunk), stop - self._position)
            wanted = chunk[max(start - self._position, 0) : used]
            self._rest = chunk[used:]
            self._position += used
            if wanted:
                yield wanted

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._rest = b""


def _holders(store: Store) -> Iterator[tuple[str, str]]:
    for key in (KEY, _FOREIGN_KEY):
        for layer_id in layer_data.holders(store, key):
            yield layer_id, key


def _cut(data: bytes, places: Places, place: toc.Place) -> bytes:
    return data[place.start - places.start : place.stop - places.start]


def _ranges(files: Sequence[FileEntry], local: Mapping[str, LocalFile], limit: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for entry in files:
        if entry.digest in local:
            continue
        if not 0 < entry.offset < entry.end_offset <= limit or (found and entry.offset < found[-1][1]):
            raise PartsUnusable("its table names impossible places")
        if found and entry.offset - found[-1][1] <= GAP:
            found[-1] = found[-1][0], entry.end_offset
        else:
            found.append((entry.offset, entry.end_offset))
    return found


def _by_name(table: Table) -> dict[bytes, deque[FileEntry]]:
    found: dict[bytes, deque[FileEntry]] = {}
    try:
        for entry in table.entries:
            if entry.has_content:
                found.setdefault(clean(entry.name.encode()), deque()).append(entry)
    except InvalidArgument as error:
        raise PartsUnusable(error.message) from None
    return found


def _records(compressed: bytes, size: int) -> Iterator[Segment | tarsplit.File]:
    rest = b""
    for piece in toc.expand(compressed, size):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > tarsplit.MAX_LINE:
            raise BadImage("cannot use the layer's tar-split records: a line is too long")
        for line in lines:
            if line:
                yield tarsplit.decode(line)
    if rest.strip():
        yield tarsplit.decode(rest)
