from __future__ import annotations

import os

import pytest

from crio.wire.crc64 import crc64_portable, load


def bitwise(data: bytes) -> int:
    """The definition, bit by bit."""
    state = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0xD800000000000000 if state & 1 else 0)
    return state ^ 0xFFFFFFFFFFFFFFFF


def test_check_value_of_the_standard() -> None:
    assert crc64_portable(b"123456789") == 0xB90956C775A41001


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 64, 65, 127, 1000, 4097, 20000])
def test_every_way_gives_the_same(size: int) -> None:
    data = os.urandom(size)
    assert bitwise(data) == crc64_portable(data) == load()(data, 0)


def test_continues_over_pieces() -> None:
    data = os.urandom(100_000)
    for crc64 in (crc64_portable, load()):
        state = 0
        for start in range(0, len(data), 7777):
            state = crc64(data[start : start + 7777], state)
        assert state == crc64_portable(data)
