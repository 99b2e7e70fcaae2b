from __future__ import annotations

import asyncio
import os

import pytest

from crio.cli.crioctl.streams import terminal
from crio.cli.crioctl.streams.terminal import DetachKeys


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"abc"], [(b"abc", False)]),
        ([b"ab\x10\x11cd"], [(b"ab", True)]),
        ([b"a\x10", b"\x11"], [(b"a", False), (b"", True)]),
        ([b"a\x10", b"b"], [(b"a", False), (b"\x10b", False)]),
        ([b"\x10\x10\x11"], [(b"\x10", True)]),
        ([b"\x11\x10", b"\x10", b"x"], [(b"\x11", False), (b"\x10", False), (b"\x10x", False)]),
    ],
)
def test_detach_keys(pieces: list[bytes], expected: list[tuple[bytes, bool]]) -> None:
    keys = DetachKeys()
    assert [keys.feed(piece) for piece in pieces] == expected


async def test_chunks_of_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one")
    found = []
    async with asyncio.timeout(60):
        async for data in terminal.chunks(reading):
            found.append(data)
            if writing >= 0:
                os.close(writing)
                writing = -1
    os.close(reading)
    assert found == [b"one"]


def test_no_size_without_a_terminal() -> None:
    reading, writing = os.pipe()
    assert terminal.size(reading) is None
    os.close(reading)
    os.close(writing)
