"""Where the data of a sparse file in a tar archive go: old GNU maps, and those of pax 0.0, 0.1 and 1.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from crio.wire.tar_fields import TarError, decimal, octal

MAX_SPARSE = 1 << 16
"""Data pieces of one sparse file."""
MAX_MAP = 1 << 20
"""Bytes of a map that stands before the data."""

_BLOCK = 512
_MAX_SIZE = (1 << 63) - 1

Pieces = tuple[tuple[int, int], ...]
"""(offset, length) of each piece of data in the file, rising."""


class SparseFile(msgspec.Struct, frozen=True):
    """A sparse file's data in the archive, `size` bytes from `at` in the buffer, and their places in the file."""

    at: int
    size: int
    real_size: int
    pieces: Pieces


def is_sparse(pax: Mapping[bytes, bytes]) -> bool:
    """Whether these pax records are of a sparse file."""
    return any(key in pax for key in (b"GNU.sparse.major", b"GNU.sparse.map", b"GNU.sparse.numblocks"))


def read_old_map(name: bytes, buffer: bytes, at: int, block: bytes, physical: int) -> SparseFile | None:
    """As `read_pax_map` for a file of the old type "S", whose map begins in its header `block`."""
    read = _old_numbers(buffer, at, block)
    if read is None:
        return None
    numbers, at = read
    real_size = octal(block[483:495])
    return SparseFile(at, physical, real_size, _checked(name, numbers, physical, real_size))


def read_pax_map(name: bytes, buffer: bytes, at: int, pax: Mapping[bytes, bytes], physical: int) -> SparseFile | None:
    """The file whose `physical` bytes begin in `buffer` at `at`. None if more bytes are needed; raises TarError."""
    major = pax.get(b"GNU.sparse.major", b"0")
    if major == b"0":
        numbers = _decimals(pax.get(b"GNU.sparse.map", b"").split(b","))
        real_size = decimal(pax.get(b"GNU.sparse.size") or pax.get(b"GNU.sparse.realsize") or b"0")
    elif major == b"1":
        found = _numbers_in_data(buffer, at, physical)
        if found is None:
            return None
        numbers, length = found
        at, physical = at + length, physical - length
        real_size = decimal(pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size") or b"0")
    else:
        raise TarError(f"cannot read tar archive: {name[:200]!r} has an unknown kind of sparse map")
    return SparseFile(at, physical, real_size, _checked(name, numbers, physical, real_size))


def _old_numbers(buffer: bytes, at: int, block: bytes) -> tuple[list[int], int] | None:
    """Four pieces in the header itself, then blocks of 21 as long as each says that another follows."""
    numbers: list[int] = []
    first, count, flag = 386, 4, 482
    while True:
        for offset in range(first, first + 24 * count, 24):
            if not block[offset]:
                break
            numbers += (octal(block[offset : offset + 12]), octal(block[offset + 12 : offset + 24]))
        if len(numbers) > 2 * MAX_SPARSE:
            raise TarError(f"cannot read tar archive: a sparse file has more than {MAX_SPARSE} pieces")
        if not block[flag]:
            return numbers, at
        if at + _BLOCK > len(buffer):
            return None
        block = buffer[at : at + _BLOCK]
        at += _BLOCK
        first, count, flag = 0, 21, 504


def _numbers_in_data(buffer: bytes, at: int, physical: int) -> tuple[list[int], int] | None:
    """The map of sparse format 1.0: decimal lines at the start of the data, filled up to a block."""
    stop = min(len(buffer), at + physical, at + MAX_MAP)
    line = buffer.find(b"\n", at, stop)
    if line < 0:
        _await_map(stop == len(buffer) < at + physical, stop - at)
        return None
    pieces = decimal(buffer[at:line])
    if pieces > MAX_SPARSE:
        raise TarError(f"cannot read tar archive: a sparse file has more than {MAX_SPARSE} pieces")
    texts = buffer[line + 1 : stop].split(b"\n", 2 * pieces)
    if len(texts) <= 2 * pieces:
        _await_map(stop == len(buffer) < at + physical, stop - at)
        return None
    length = stop - at - len(texts[-1])
    length += -length % _BLOCK
    if length > physical:
        raise TarError("cannot read tar archive: a sparse map is longer than its file")
    if at + length > len(buffer):
        return None
    return [decimal(text) for text in texts[:-1]], length


def _await_map(more_to_come: bool, seen: int) -> None:
    if not more_to_come or seen >= MAX_MAP:
        raise TarError("cannot read tar archive: a sparse map has no end")


def _decimals(texts: list[bytes]) -> list[int]:
    if texts == [b""]:
        return []
    if len(texts) > 2 * MAX_SPARSE:
        raise TarError(f"cannot read tar archive: a sparse file has more than {MAX_SPARSE} pieces")
    return [decimal(text) for text in texts]


def _checked(name: bytes, numbers: Sequence[int], size: int, real_size: int) -> Pieces:
    if len(numbers) % 2:
        raise TarError(f"cannot read tar archive: the sparse map of {name[:200]!r} is incomplete")
    pieces = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    position = total = 0
    for offset, length in pieces:
        if offset < position or length < 0 or offset + length > real_size:
            raise TarError(f"cannot read tar archive: the sparse map of {name[:200]!r} is impossible")
        position = offset + length
        total += length
    if total != size or not 0 <= real_size <= _MAX_SIZE:
        raise TarError(f"cannot read tar archive: the sparse map of {name[:200]!r} does not fit its data")
    return pieces
