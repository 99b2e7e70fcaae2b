from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.wire.grpc import (
    CompressedMessage,
    MessageReader,
    MessageTooLong,
    decode_status_text,
    encode_status_text,
    format_timeout,
    message_prefix,
    parse_timeout,
)


@given(st.lists(st.binary(max_size=50), max_size=10), st.lists(st.integers(1, 30), max_size=100))
def test_messages_are_cut_out_of_any_chunks(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(message_prefix(len(message)) + message for message in messages)
    reader = MessageReader(50)
    found: list[bytes] = []
    for size in cuts:
        found += reader.feed(data[:size])
        data = data[size:]
    found += reader.feed(data)
    assert found == messages
    assert reader.buffered == 0


def test_too_long_message_is_refused_by_its_prefix() -> None:
    with pytest.raises(MessageTooLong) as caught:
        MessageReader(10).feed(message_prefix(11))
    assert (caught.value.length, caught.value.limit) == (11, 10)


def test_compressed_message_is_refused() -> None:
    with pytest.raises(CompressedMessage):
        MessageReader(10).feed(b"\x01\0\0\0\x01x")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1S", 1.0), ("1999848u", 1.999848), ("2H", 7200.0), ("3M", 180.0), ("5m", 0.005), ("7n", 7e-9)],
)
def test_parse_timeout(text: str, seconds: float) -> None:
    assert parse_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "1", "123456789S", "-1S", "1.5S", "1s", "١S"])
def test_malformed_timeout(text: str) -> None:
    assert parse_timeout(text) is None


@given(st.floats(1e-9, 1e7))
def test_timeout_survives_the_header(seconds: float) -> None:
    parsed = parse_timeout(format_timeout(seconds))
    assert parsed is not None
    assert parsed == pytest.approx(seconds, rel=1e-4, abs=1e-9)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_status_text_survives_the_header(text: str) -> None:
    value = encode_status_text(text)
    assert value.isascii()
    assert value == "" or value.isprintable()
    assert decode_status_text(value) == text


def test_malformed_status_text_is_kept() -> None:
    assert decode_status_text("100% sure") == "100% sure"
