"""Tar archives, read as a stream of bytes that somebody feeds in: no files, no names resolved, nothing extracted.

Reads what container image layers are made of: V7, ustar, GNU (long names, base-256 numbers, old sparse files), star and
pax (long names, big numbers, sub-second times, extended attributes, sparse files 0.0, 0.1 and 1.0). Names are bytes and
are handed out as they stand in the archive: whoever unpacks must judge them. Global pax headers are passed over, as
Go's archive/tar and so every other container engine does. Used by storage/ and image/.

Every member also carries the raw bytes that lie before its data, so that the archive can be written again bit by bit.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterator, Mapping

from crio.wire.tar_fields import XATTR, TarError, decimal, octal, parse_pax, parse_time
from crio.wire.tar_sparse import is_sparse, read_old_map, read_pax_map

BLOCK = 512
MAX_EXTENSION = 1 << 20
"""Bytes of one pax header, GNU long name or sparse map (Go's archive/tar has the same limit; CVE-2025-58183)."""
MAX_EXTENSIONS = 16
"""Extension headers that may precede one member."""
MAX_NAME = 4096
"""Bytes of a member's name or link target: Linux' PATH_MAX."""

_HEADER = struct.Struct("100s8s8s8s12s12s8xc100s6s66x8s8s155s12x")
"""name, mode, uid, gid, size, mtime, (checksum,) typeflag, linkname, magic, (owner names,) major, minor, prefix"""
_ZERO = bytes(BLOCK)
_MAX_SIZE = (1 << 63) - 1


class Kind(enum.Enum):
    FILE = "file"
    HARD_LINK = "hard link"
    SYMLINK = "symbolic link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    DIRECTORY = "directory"
    FIFO = "fifo"


_KINDS: Mapping[bytes, Kind] = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER_DEVICE,
    b"4": Kind.BLOCK_DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}

NO_XATTRS: Mapping[bytes, bytes] = {}


class TarEntry:
    """One member. Its data, `size` bytes, follow as `bytes` events; only a FILE has any."""

    __slots__ = (
        "gid",
        "header",
        "kind",
        "linkname",
        "major",
        "minor",
        "mode",
        "mtime_ns",
        "name",
        "real_size",
        "size",
        "sparse",
        "uid",
        "xattrs",
    )

    name: bytes
    kind: Kind
    mode: int
    """Permission bits with set-id and sticky; never the file type."""
    uid: int
    gid: int
    size: int
    """Bytes of data in the archive."""
    real_size: int
    """Length of the file: more than `size` if it is sparse."""
    sparse: tuple[tuple[int, int], ...] | None
    """Where the data go: (offset, length), rising; None for a plain file."""
    mtime_ns: int
    linkname: bytes
    major: int
    minor: int
    xattrs: Mapping[bytes, bytes]
    header: bytes
    """The raw bytes from the end of the former member's data to the start of this one's."""

    def __repr__(self) -> str:
        return f"TarEntry({self.name!r}, {self.kind.value}, size={self.size})"


class TarTail:
    """Raw bytes at and after the end of the archive: padding, the zero blocks, and whatever follows them."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


TarEvent = TarEntry | bytes | TarTail


class TarReader:
    """Feed it the archive in pieces of any size; it answers with entries, their data, and the tail.

    Holds at most one member's headers (some MiB in the worst case), never file data.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data = 0
        self._padding = 0
        self._ended = False
        self._raw: list[bytes] = []
        self._extensions = 0
        self._pax: dict[bytes, bytes] = {}
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None

    def feed(self, chunk: bytes) -> Iterator[TarEvent]:
        """Consume `chunk` and yield what it completes; the iterator must be run to its end. Raises TarError."""
        buffer = self._rest + chunk if self._rest else chunk
        self._rest = b""
        end, at = len(buffer), 0
        while at < end:
            if self._data:
                piece = buffer if at == 0 and end <= self._data else buffer[at : at + self._data]
                at += len(piece)
                self._data -= len(piece)
                yield piece
                continue
            if self._ended:
                yield TarTail(buffer[at:])
                return
            start, at = at, at + self._padding
            if end - at < BLOCK:
                self._rest = buffer[start:]
                return
            block = buffer[at : at + BLOCK]
            at += BLOCK
            if block == _ZERO:
                if not self._end_of_archive(buffer, start, at):
                    return
                yield TarTail(b"".join((*self._raw, buffer[start:at])))
                self._raw.clear()
                continue
            taken = self._member(buffer, start, at, block)
            if taken is None:
                self._rest = buffer[start:]
                return
            at, entry = taken
            if entry is not None:
                yield entry

    def finish(self) -> Iterator[TarEvent]:
        """Say that nothing follows. A missing end mark is accepted, as GNU tar and Go do; half a member is not."""
        if self._data:
            raise TarError(f"cannot read tar archive: it ends {self._data} bytes before the end of a file's data")
        if len(self._rest) > self._padding and self._rest[self._padding :].strip(b"\0"):
            raise TarError("cannot read tar archive: it ends inside a header")
        if self._extensions:
            raise TarError("cannot read tar archive: it ends after an extension header")
        tail = b"".join((*self._raw, self._rest))
        self._raw.clear()
        self._rest = b""
        if tail:
            yield TarTail(tail)

    def _end_of_archive(self, buffer: bytes, start: int, at: int) -> bool:
        """One zero block was read. The next must be zero too; false if it has not arrived yet."""
        if self._extensions:
            raise TarError("cannot read tar archive: it ends after an extension header")
        if len(buffer) - at < BLOCK:
            self._rest = buffer[start:]
            return False
        if buffer[at : at + BLOCK] != _ZERO:
            raise TarError("cannot read tar archive: a lone zero block lies between members")
        self._ended = True
        self._padding = 0
        return True

    def _member(self, buffer: bytes, start: int, at: int, block: bytes) -> tuple[int, TarEntry | None] | None:
        """Read the header in `block`, whose data begin at `at`. None if more bytes are needed to go on."""
        _verify(block)
        typeflag = block[156:157]
        if typeflag in b"xgXLK":
            return self._extension(buffer, start, at, typeflag, _size(block[124:136]))
        fields = _HEADER.unpack(block)
        entry = TarEntry()
        physical = self._fill(entry, fields, block)
        if entry.kind is Kind.FILE and (typeflag == b"S" or (self._pax and is_sparse(self._pax))):
            found = (
                read_old_map(entry.name, buffer, at, block, physical)
                if typeflag == b"S"
                else read_pax_map(entry.name, buffer, at, self._pax, physical)
            )
            if found is None:
                return None
            at, physical = found.at, found.size
            entry.size, entry.real_size, entry.sparse = physical, found.real_size, found.pieces
        else:
            entry.size = entry.real_size = physical
            entry.sparse = None
        if len(entry.name) > MAX_NAME or len(entry.linkname) > MAX_NAME:
            raise TarError(f"cannot read tar archive: a name is longer than {MAX_NAME} bytes")
        if self._raw:
            self._raw.append(buffer[start:at])
            entry.header = b"".join(self._raw)
            self._raw.clear()
        else:
            entry.header = buffer[start:at]
        if self._extensions:
            self._extensions = 0
            self._pax, self._long_name, self._long_link = {}, None, None
        self._data = physical
        self._padding = -physical % BLOCK
        return at, entry

    def _extension(
        self, buffer: bytes, start: int, at: int, typeflag: bytes, size: int
    ) -> tuple[int, TarEntry | None] | None:
        if size > MAX_EXTENSION:
            raise TarError(f"cannot read tar archive: an extension header has more than {MAX_EXTENSION} bytes")
        if self._extensions >= MAX_EXTENSIONS:
            raise TarError(f"cannot read tar archive: more than {MAX_EXTENSIONS} extension headers before one member")
        stop = at + size + (-size % BLOCK)
        if stop > len(buffer):
            return None
        data = buffer[at : at + size]
        if typeflag == b"L":
            self._long_name = data.partition(b"\0")[0]
        elif typeflag == b"K":
            self._long_link = data.partition(b"\0")[0]
        else:
            records = parse_pax(data)
            if typeflag != b"g":
                self._pax.update(records)
        if typeflag != b"g":
            self._extensions += 1
        self._raw.append(buffer[start:stop])
        if len(self._raw) > 4 * MAX_EXTENSIONS:
            raise TarError("cannot read tar archive: too many global headers before one member")
        self._padding = 0
        return stop, None

    def _fill(self, entry: TarEntry, fields: tuple[bytes, ...], block: bytes) -> int:
        """Set the plain fields; the answer is the length of the data in the archive."""
        pax = self._pax
        raw_name, mode, uid, gid, raw_size, mtime, typeflag, linkname, magic, major, minor, prefix = fields
        name = raw_name.partition(b"\0")[0]
        if magic == b"ustar\0" and prefix[0]:
            prefix = (prefix[:131] if block[508:] == b"tar\0" else prefix).partition(b"\0")[0]
            if prefix:
                name = prefix + b"/" + name
        if self._long_name is not None:
            name = self._long_name
        entry.linkname = self._long_link if self._long_link is not None else linkname.partition(b"\0")[0]
        entry.mode = octal(mode) & 0o7777
        entry.uid, entry.gid = octal(uid), octal(gid)
        size = octal(raw_size)
        entry.mtime_ns = octal(mtime) * 1_000_000_000
        entry.xattrs = NO_XATTRS
        if pax:
            xattrs: dict[bytes, bytes] = {}
            for key, value in pax.items():
                if key == b"mtime":
                    entry.mtime_ns = parse_time(value)
                elif key.startswith(XATTR):
                    xattrs[key[len(XATTR) :]] = value
                elif key == b"path":
                    name = value
                elif key == b"linkpath":
                    entry.linkname = value
                elif key == b"size":
                    size = decimal(value)
                elif key == b"uid":
                    entry.uid = decimal(value)
                elif key == b"gid":
                    entry.gid = decimal(value)
            name = pax.get(b"GNU.sparse.name") or name
            if xattrs:
                entry.xattrs = xattrs
        kind = _KINDS.get(typeflag)
        if kind is None:
            raise TarError(f"cannot read tar archive: {name[:200]!r} is of the unknown type {typeflag!r}")
        if kind is Kind.FILE and typeflag == b"\0" and name.endswith(b"/"):
            kind = Kind.DIRECTORY
        if not 0 <= size <= _MAX_SIZE:
            raise TarError(f"cannot read tar archive: {name[:200]!r} has the impossible size {size}")
        entry.name, entry.kind = name, kind
        entry.major = entry.minor = 0
        if kind is Kind.CHARACTER_DEVICE or kind is Kind.BLOCK_DEVICE:
            entry.major, entry.minor = octal(major), octal(minor)
        return size if kind is Kind.FILE else 0


def _verify(block: bytes) -> None:
    """The checksum is the sum of all bytes with its own field taken as spaces. Adler-32's low half is that sum."""
    field = block[148:156]
    total = ((zlib.adler32(block) & 0xFFFF) - 1 - sum(field) + 256) % 65521
    try:
        expected = octal(field)
    except TarError:
        expected = -1
    if total == expected % 65521 and expected >= 0:
        return
    # Some old tars summed signed bytes.
    signed = sum(struct.unpack("512b", block)) - sum(struct.unpack("8b", field)) + 256
    if signed != expected:
        raise TarError("cannot read tar archive: a header's checksum is wrong")


def _size(field: bytes) -> int:
    size = octal(field)
    if size < 0:
        raise TarError("cannot read tar archive: an extension header has a negative size")
    return size
