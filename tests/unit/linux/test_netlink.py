from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.linux.netlink import (
    Netlink,
    NetlinkError,
    attribute,
    attribute_table,
    attributes,
    be32,
    message,
    nested,
    text,
    to_text,
    u8,
    u32,
)

_GETLINK, _LINK = 18, struct.Struct("=BxHiII")


def test_attributes_are_padded_and_read_back() -> None:
    data = text(1, "lo") + u8(2, 7) + u32(4, 5) + be32(5, 1) + nested(6, text(1, "in"), u8(2, 1))
    assert len(data) % 4 == 0
    table = attribute_table(data)
    assert to_text(table[1]) == "lo"
    assert [table[2], table[4], table[5]] == [b"\x07", struct.pack("=I", 5), b"\0\0\0\x01"]
    assert to_text(attribute_table(table[6])[1]) == "in"


def test_a_message_has_its_header() -> None:
    assert message(18, 5, 9, b"abc") == struct.pack("=IHHII", 19, 18, 5, 9, 0) + b"abc\0"


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_to_an_end(data: bytes) -> None:
    for _, value in attributes(data):
        assert len(value) <= len(data)


def test_requests_and_dumps() -> None:
    with Netlink() as netlink:
        every = netlink.dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0))
        one = netlink.get(_GETLINK, _LINK.pack(0, 0, 1, 0, 0))
        assert to_text(attribute_table(one, _LINK.size)[3]) == "lo"
        assert "lo" in [to_text(attribute_table(answer, _LINK.size)[3]) for answer in every]


def test_a_refusal_has_errno_the_kernels_words_and_the_object() -> None:
    with Netlink() as netlink:
        with pytest.raises(NetlinkError, match=r"No such device.*'nothing'") as caught:
            netlink.get(_GETLINK, _LINK.pack(0, 0, 0, 0, 0) + text(3, "no-such-link"), "nothing")
        assert caught.value.errno == errno.ENODEV
        with pytest.raises(OSError, match=r"\(.*[a-z]{3}.*\)"):
            netlink.get(_GETLINK, _LINK.pack(0, 0, 1, 0, 0) + attribute(3, b"x" * 300))
        assert netlink.dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0))
