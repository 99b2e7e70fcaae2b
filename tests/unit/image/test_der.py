"""DER: whole elements or an error, never a look beyond the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.image import der


def test_elements() -> None:
    data = b"\x30\x06\x04\x01a\x02\x01\x05" + b"\x0c\x81\x80" + b"x" * 128
    sequence, text = der.elements(data)
    assert [element.content for element in der.elements(der.expect(sequence, der.SEQUENCE))] == [b"a", b"\x05"]
    assert (text.tag, len(text.content), text.whole) == (der.UTF8_STRING, 128, data[8:])
    assert der.only(b"\x0c\x02hi", der.UTF8_STRING) == b"hi"
    assert der.elements(b"") == []


def test_object_identifiers() -> None:
    def oid(content: bytes) -> str:
        return der.oid(der.Element(der.OID, content, b""))

    assert oid(bytes.fromhex("2a864886f70d010703")) == "1.2.840.113549.1.7.3"
    assert oid(bytes.fromhex("608648016503040106")) == "2.16.840.1.101.3.4.1.6"
    for bad in (b"", b"\x2a\x86", b"\xff" * 30 + b"\x01"):
        with pytest.raises(ValueError, match="object identifier"):
            oid(bad)


@pytest.mark.parametrize(
    "data",
    [b"\x30", b"\x30\x05a", b"\x30\x80", b"\x30\x85\0\0\0\0\1a", b"\x1f\x01\x00", b"\x30\x82\x01", b"\x04\x00" * 1001],
)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="DER"):
        der.elements(data)


def test_expectations() -> None:
    with pytest.raises(ValueError, match="tag 0x4 and not 0xc"):
        der.only(b"\x04\x01a", der.UTF8_STRING)
    with pytest.raises(ValueError, match="2 DER elements and not 1"):
        der.only(b"\x04\x00\x04\x00", der.OCTET_STRING)


@given(st.binary(max_size=200))
def test_any_input(data: bytes) -> None:
    try:
        found = der.elements(data)
    except ValueError:
        return
    assert b"".join(element.whole for element in found) == data
