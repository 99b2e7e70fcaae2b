from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import DataLoss
from crio.wire.tarsplit import File, Segment, TarSplitEncoder, decode


def test_lines_have_the_form_that_other_tools_write() -> None:
    encoder = TarSplitEncoder()
    assert encoder.segment(b"\0\1") == b'{"type":2,"payload":"AAE=","position":0}\n'
    assert encoder.file(b"a/b", 3, 1) == b'{"type":1,"name":"a/b","size":3,"payload":"AAAAAAAAAAE=","position":1}\n'
    assert encoder.file(b"d/", 0, 0) == b'{"type":1,"name":"d/","payload":null,"position":2}\n'
    assert encoder.file(b"\xff", 0, 0) == b'{"type":1,"name_raw":"/w==","payload":null,"position":3}\n'


@given(st.binary(min_size=1), st.integers(0, 1 << 40), st.integers(0, (1 << 64) - 1))
def test_files_come_back(name: bytes, size: int, crc: int) -> None:
    line = TarSplitEncoder().file(name, size, crc)
    json.loads(line)
    assert decode(line) == File(name, size, crc if size else 0)


@given(st.binary())
def test_segments_come_back(raw: bytes) -> None:
    assert decode(TarSplitEncoder().segment(raw)) == Segment(raw)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"type":3,"position":0}',
        b'{"type":1,"name":"a","size":5,"payload":"AAE="}',
        b'{"type":1,"name":"a","size":-5,"payload":"AAAAAAAAAAE="}',
        b'{"type":2,"payload":"%%%"}',
        b'{"payload":"AAE="}',
    ],
)
def test_damage_is_told(line: bytes) -> None:
    with pytest.raises(DataLoss, match="cannot read tar-split"):
        decode(line)
