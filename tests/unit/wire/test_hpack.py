from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.wire.hpack import HeaderDecoder, HpackError, encode, huffman_decode

LATIN1 = st.text(st.characters(max_codepoint=255), max_size=300)


def decoder(size: int = 4096, limit: int = 65536) -> HeaderDecoder:
    return HeaderDecoder(max_table_size=size, max_list_size=limit)


def test_rfc_7541_c4_requests_with_huffman_and_dynamic_table() -> None:
    reader = decoder()
    assert reader.decode(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")) == [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ]
    assert reader.decode(bytes.fromhex("828684be5886a8eb10649cbf"))[3:] == [
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ]
    assert reader.decode(bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"))[2:] == [
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ]


def test_rfc_7541_c6_response_evicts_from_a_small_table() -> None:
    reader = decoder(256)
    first = reader.decode(
        bytes.fromhex(
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3"
        )
    )
    assert first == [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ]
    second = reader.decode(bytes.fromhex("4883640effc1c0bf"))
    assert second == [(":status", "307"), *first[1:]]
    with pytest.raises(HpackError):  # the entry of the first status was evicted
        reader.decode(bytes([0x80 | 66]))


@given(st.lists(st.tuples(LATIN1, LATIN1), max_size=20))
def test_what_is_encoded_is_decoded(headers: list[tuple[str, str]]) -> None:
    assert decoder(limit=1 << 20).decode(encode(headers)) == headers


def test_encoder_uses_the_static_table() -> None:
    assert encode([(":status", "200"), (":method", "POST")]) == bytes([0x88, 0x83])


@given(st.binary(max_size=200))
def test_any_bytes_are_headers_or_an_hpack_error(block: bytes) -> None:
    try:
        headers = decoder().decode(block)
    except HpackError:
        return
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in headers)


@given(st.binary(max_size=100))
def test_huffman_decoder_never_fails_otherwise(data: bytes) -> None:
    try:
        text = huffman_decode(data)
    except HpackError:
        return
    assert len(text) <= len(data) * 8 // 5


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff", b"\x00", b"\xff"],
    ids=["end marker", "padded with zeros", "a whole octet of padding"],
)
def test_huffman_padding(data: bytes) -> None:
    with pytest.raises(HpackError):
        huffman_decode(data)


def test_small_block_that_expands_is_refused() -> None:
    reader = decoder(limit=16384)
    reader.decode(b"\x40\x01a" + b"\x7f\xa1\x1e" + b"x" * 4000)  # one entry of 4 kB in the table
    with pytest.raises(HpackError, match="more than 16384"):
        reader.decode(bytes([0x80 | 62]) * 100)


@pytest.mark.parametrize(
    "block",
    [b"\x80", b"\xff\x80\x80\x80\x80\x80\x80\x01", b"\x40\x05ab", b"\x3f\xff\xff\x03", b"\x82\x20", b"\xbe"],
    ids=["index 0", "endless integer", "cut off", "table too large", "table size not first", "index not in table"],
)
def test_malformed_block(block: bytes) -> None:
    with pytest.raises(HpackError):
        decoder().decode(block)
