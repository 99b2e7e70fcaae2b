from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.wire.tar_fields import TarError, decimal, octal, parse_pax, parse_time


@pytest.mark.parametrize(
    ("field", "number"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"644\0 junk", 0o644),
        (b"\0" * 8, 0),
        (b"\x80" + (1 << 40).to_bytes(11, "big"), 1 << 40),
        (b"\xff" * 12, -1),
    ],
)
def test_numbers(field: bytes, number: int) -> None:
    assert octal(field) == number


@pytest.mark.parametrize("field", [b"0000648\0", b"-000644\0", b"0x1\0\0\0\0\0"])
def test_what_is_no_octal_number(field: bytes) -> None:
    with pytest.raises(TarError, match="is not a number"):
        octal(field)


@pytest.mark.parametrize("text", [b"", b"-1", b"1.0", b" 1", b"1" * 21])
def test_what_is_no_decimal_number(text: bytes) -> None:
    with pytest.raises(TarError, match="is not a number"):
        decimal(text)


def test_the_length_of_a_pax_record_has_the_last_word() -> None:
    assert parse_pax(b"24 SCHILY.xattr.u.a=1\n2\n" + b"9 path=x\n") == {b"SCHILY.xattr.u.a": b"1\n2", b"path": b"x"}


def test_an_empty_pax_value_takes_an_earlier_one_back() -> None:
    assert parse_pax(b"9 path=x\n8 path=\n") == {}


@given(st.binary(max_size=300))
def test_pax_headers_never_break_the_parser(data: bytes) -> None:
    try:
        parse_pax(data)
    except TarError:
        pass


def test_pax_times() -> None:
    assert parse_time(b"0") == 0
    assert parse_time(b"1.5") == 1_500_000_000
    assert parse_time(b"-1.5") == -1_500_000_000
    assert parse_time(b"1.1234567899") == 1_123_456_789
    for bad in (b"", b".5", b"1.x", b"1e5", b"--1", b"1" * 30):
        with pytest.raises(TarError):
            parse_time(bad)
