from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from crio.image.compression import MAGIC_LENGTH, PIECE, Compression, detect, expander
from crio.image.errors import BadImage

DATA = random.Random(1).randbytes(1 << 16) * 12
PACKERS: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.NONE: bytes,
    Compression.GZIP: lambda data: gzip.compress(data, 1),
    Compression.ZSTD: zstd.compress,
    Compression.BZIP2: lambda data: bz2.compress(data, 1),
    Compression.XZ: lambda data: lzma.compress(data, preset=0),
}
PACKED = [kind for kind in PACKERS if kind is not Compression.NONE]


def expand(compression: Compression, data: bytes, step: int = 65536) -> bytes:
    expand_it = expander(compression)
    out = bytearray()
    for start in range(0, len(data), step):
        for piece in expand_it.feed(data[start : start + step]):
            assert len(piece) <= max(PIECE, step)
            out += piece
    expand_it.finish()
    return bytes(out)


@pytest.mark.parametrize("kind", list(PACKERS))
@pytest.mark.parametrize("step", [1000, 65536, 1 << 30])
def test_round_trip(kind: Compression, step: int) -> None:
    packed = PACKERS[kind](DATA)
    if kind is not Compression.NONE:
        assert detect(packed[:MAGIC_LENGTH]) is kind
        assert expand(kind, packed, step) == DATA


@pytest.mark.parametrize("kind", PACKED)
def test_several_members_are_one_stream(kind: Compression) -> None:
    packed = PACKERS[kind](b"one") + PACKERS[kind](b"") + PACKERS[kind](DATA)
    for step in (7 if kind is Compression.GZIP else 1000, 65536):
        assert expand(kind, packed, step) == b"one" + DATA


def test_padding() -> None:
    assert expand(Compression.GZIP, gzip.compress(b"x") + b"\0" * 1000, 10) == b"x"
    assert expand(Compression.XZ, lzma.compress(b"x") + b"\0" * 1000, 10) == b"x"


def test_skippable_zstd_frames() -> None:
    skippable = (0x184D2A51).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"
    packed = skippable + zstd.compress(DATA) + skippable
    assert detect(packed[:MAGIC_LENGTH]) is Compression.ZSTD
    assert expand(Compression.ZSTD, packed) == DATA


@pytest.mark.parametrize("kind", PACKED)
def test_cut_streams(kind: Compression) -> None:
    packed = PACKERS[kind](DATA)
    for cut in (0, 3, 100, len(packed) - 1):
        with pytest.raises(BadImage, match="too early"):
            expand(kind, packed[:cut])


@pytest.mark.parametrize("kind", PACKED)
def test_damaged_streams(kind: Compression) -> None:
    packed = bytearray(PACKERS[kind](DATA))
    packed[len(packed) // 2] ^= 0xFF
    packed[-3] ^= 0xFF
    with pytest.raises(BadImage):
        expand(kind, bytes(packed))
    with pytest.raises(BadImage):
        expand(kind, PACKERS[kind](b"x") + b"garbage behind it")


def test_bombs_come_in_pieces() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    pieces = expander(Compression.GZIP).feed(bomb)
    assert max(len(piece) for piece in pieces) <= PIECE


def test_too_large_a_window_is_refused() -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 30,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(DATA[:1000]) + packer.compress(DATA) + packer.flush()
    with pytest.raises(BadImage, match="zstd"):
        expand(Compression.ZSTD, packed)


@given(st.sampled_from(PACKED), st.binary(max_size=200), st.booleans())
def test_any_bytes_end_well(kind: Compression, data: bytes, with_start: bool) -> None:
    try:
        expand(kind, (PACKERS[kind](b"abc") if with_start else b"") + data, 50)
    except BadImage:
        pass
