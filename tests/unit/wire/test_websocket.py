from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crio.wire import websocket
from crio.wire.http1 import Headers, HttpError, Request
from crio.wire.websocket import (
    BINARY,
    TEXT,
    Closed,
    MessagePart,
    PongReceived,
    WebSocketConnection,
    WebSocketError,
    accept_headers,
    accept_key,
)
from steps import steps

MASK = b"\x01\x02\x03\x04"


def client_frame(first: int, data: bytes = b"", *, mask: bytes = MASK) -> bytes:
    """A masked frame, built by hand."""
    size = len(data)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = struct.pack(">BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", first, 0x80 | 127, size)
    return head + mask + bytes(octet ^ mask[position % 4] for position, octet in enumerate(data))


def server(max_message: int | None = None) -> WebSocketConnection:
    return WebSocketConnection(client=False, max_message=max_message)


def handshake(**changes: str) -> Request:
    headers = {
        "Host": "n",
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "WebSocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "a, b",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return Request("GET", "/", Headers(headers.items()))


def test_accept_key_of_rfc_6455() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_handshake_is_answered() -> None:
    assert handshake().wants_upgrade("websocket")
    assert websocket.offered_protocols(handshake().headers) == ["a", "b"]
    answer = dict(accept_headers(handshake(), "b"))
    assert answer["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer["Sec-WebSocket-Protocol"] == "b"
    assert "Sec-WebSocket-Protocol" not in dict(accept_headers(handshake(), ""))


def test_own_request_headers_are_a_handshake() -> None:
    key = websocket.new_key()
    request = Request("GET", "/", Headers(websocket.request_headers("n", key, ["a"])))
    assert dict(accept_headers(request, "a"))["Sec-WebSocket-Accept"] == accept_key(key)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (handshake(Sec_WebSocket_Version="8"), 426),
        (handshake(Sec_WebSocket_Key="dG9vIHNob3J0"), 400),
        (handshake(Sec_WebSocket_Key="!"), 400),
        (handshake(Sec_WebSocket_Key="\xe9GhlIHNhbXBsZSBub25jZQ=="), 400),
        (Request("POST", "/", handshake().headers), 400),
    ],
)
def test_no_handshake(request_: Request, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        accept_headers(request_, "")
    assert caught.value.status == status


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(1, 50), max_size=60))
def test_messages_do_not_depend_on_how_bytes_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(client_frame(0x82, message) for message in messages)
    connection = server()
    found: list[bytes] = []
    for size in [*cuts, len(data)]:
        for event in connection.feed(data[:size]):
            assert isinstance(event, MessagePart)
            if event.first:
                found.append(b"")
            found[-1] += event.data
        data = data[size:]
    assert found == messages


def test_fragmented_message_with_a_ping_between() -> None:
    connection = server()
    data = client_frame(0x01, b"ab") + client_frame(0x89, b"?") + client_frame(0x00, b"") + client_frame(0x80, b"cd")
    assert connection.feed(data) == [
        MessagePart(b"ab", True, False, True),
        MessagePart(b"", False, False, True),
        MessagePart(b"cd", False, True, True),
    ]
    assert connection.take_output() == b"\x8a\x01?"


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 300_000])
def test_both_sides_of_ours(size: int) -> None:
    client, connection = WebSocketConnection(client=True), server()
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    parts = [event for event in connection.feed(client.message(BINARY, message)) if isinstance(event, MessagePart)]
    assert b"".join(part.data for part in parts) == message
    assert parts[-1].last
    parts = [event for event in client.feed(connection.header(TEXT, size) + message) if isinstance(event, MessagePart)]
    assert b"".join(part.data for part in parts) == message
    assert parts[0].text


def test_masks_agree_at_any_position() -> None:
    slow = websocket._mask_slowly(b"some text of any length", MASK)
    assert slow == client_frame(0x82, b"some text of any length")[6:]
    assert websocket._masker()(b"some text of any length", MASK) == slow


def test_pong_is_reported_and_ping_sent() -> None:
    client, connection = WebSocketConnection(client=True), server()
    connection.ping(b"abc")
    client.feed(connection.take_output())
    assert connection.feed(client.take_output()) == [PongReceived(b"abc")]


def test_close_is_answered_once_and_nothing_follows() -> None:
    connection = server()
    close = client_frame(0x88, struct.pack(">H", 1000) + b"bye")
    assert connection.feed(close + client_frame(0x82, b"late")) == [Closed(1000, "bye")]
    assert connection.take_output() == b"\x88\x02\x03\xe8"
    connection.close()
    assert connection.take_output() == b""
    assert connection.feed(client_frame(0x82, b"later")) == []


def test_close_without_a_code() -> None:
    connection = server()
    assert connection.feed(client_frame(0x88)) == [Closed(1005, "")]
    assert connection.take_output() == b"\x88\x00"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x01a", 1002),
        (client_frame(0xC2, b"a"), 1002),
        (client_frame(0x80, b"a"), 1002),
        (client_frame(0x02, b"a") + client_frame(0x82, b"b"), 1002),
        (client_frame(0x83, b"a"), 1002),
        (client_frame(0x8B, b"a"), 1002),
        (client_frame(0x09, b"a"), 1002),
        (client_frame(0x89, bytes(126)), 1002),
        (client_frame(0x88, b"\x03"), 1002),
        (client_frame(0x88, struct.pack(">H", 1005)), 1002),
        (client_frame(0x88, struct.pack(">H", 999)), 1002),
        (b"\x82\xff\xff" + bytes(7) + MASK, 1002),
        (client_frame(0x02, bytes(600)) + client_frame(0x80, bytes(600)), 1009),
        (struct.pack(">BBQ", 0x82, 0xFF, 1 << 40) + MASK, 1009),
    ],
)
def test_broken_frames_end_the_connection_with_their_code(data: bytes, code: int) -> None:
    connection = server(max_message=1000)
    with pytest.raises(WebSocketError) as caught:
        connection.feed(data)
    assert caught.value.code == code
    output = connection.take_output()
    assert output[0] == 0x88
    assert struct.unpack_from(">H", output, 2)[0] == code


def test_masked_frame_from_a_server_is_refused() -> None:
    with pytest.raises(WebSocketError):
        WebSocketConnection(client=True).feed(client_frame(0x82, b"a"))


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_an_error(data: bytes) -> None:
    connection = server(1000)
    try:
        connection.feed(data)
    except WebSocketError:
        assert connection.close_sent


def test_control_frames_cost_little() -> None:
    """Six bytes from a client; a read has tens of thousands of them."""
    pings = client_frame(0x89) * 1000
    connection = server()
    assert steps(lambda: connection.feed(pings)) < 100 * 1000
    assert connection.take_output() == b"\x8a\0" * 1000
