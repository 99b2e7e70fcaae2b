from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crio.wire import hpack
from crio.wire.http2 import PREFACE, Http2Connection, Http2Error, Limits
from crio.wire.http2_events import (
    DataReceived,
    ErrorCode,
    Event,
    GoingAway,
    HeadersReceived,
    PongReceived,
    StreamReset,
    WindowOpened,
)

REQUEST = [(":method", "POST"), (":path", "/a.B/C"), (":scheme", "http")]


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream_id) + payload


SETTINGS = frame(4, 0, 0, b"")


def pair(limits: Limits | None = None) -> tuple[Http2Connection, Http2Connection]:
    client, server = Http2Connection(client=True), Http2Connection(client=False, limits=limits)
    exchange(client, server)
    return client, server


def exchange(client: Http2Connection, server: Http2Connection) -> tuple[list[Event], list[Event]]:
    """Carry bytes until both are silent; the events of the client and of the server."""
    at_client: list[Event] = []
    at_server: list[Event] = []
    while client.pending or server.pending:
        at_server += server.feed(client.take_output())
        at_client += client.feed(server.take_output())
    return at_client, at_server


def opened() -> Http2Connection:
    server = Http2Connection(client=False)
    server.feed(PREFACE + SETTINGS)
    server.take_output()
    return server


def of(events: list[Event], kind: type) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_request_and_response() -> None:
    client, server = pair()
    stream = client.open_stream(REQUEST)
    client.send_data(stream, b"ping", end_stream=True)
    _, events = exchange(client, server)
    assert events == [HeadersReceived(1, REQUEST, False), DataReceived(1, b"ping", True)]
    server.send_headers(1, hpack.encode([(":status", "200")]))
    server.send_data(1, b"pong")
    server.send_headers(1, hpack.encode([("grpc-status", "0")]), end_stream=True)
    events, _ = exchange(client, server)
    assert events == [
        HeadersReceived(1, [(":status", "200")], False),
        DataReceived(1, b"pong", False),
        HeadersReceived(1, [("grpc-status", "0")], True),
    ]
    assert client.open_streams == server.open_streams == 0


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), max_size=60))
def test_events_do_not_depend_on_how_bytes_are_cut(cuts: list[int]) -> None:
    client = Http2Connection(client=True)
    stream = client.open_stream(REQUEST)
    client.send_data(stream, b"x" * 100, end_stream=True)
    data = client.take_output()
    server = Http2Connection(client=False)
    events: list[Event] = []
    for size in cuts:
        events += server.feed(data[:size])
        data = data[size:]
    events += server.feed(data)
    assert events == [
        WindowOpened(0),
        WindowOpened(0),
        HeadersReceived(1, REQUEST, False),
        DataReceived(1, b"x" * 100, True),
    ]


def test_sending_stops_at_the_window_and_goes_on_when_it_opens() -> None:
    client, server = pair(Limits(stream_window=1000, connection_window=1 << 20))
    stream = client.open_stream(REQUEST)
    assert client.send_data(stream, b"x" * 1500) == 1000
    assert client.send_data(stream, b"x" * 500) == 0
    exchange(client, server)
    server.consume(stream, 1000)
    events, _ = exchange(client, server)
    assert WindowOpened(stream) in events
    assert client.send_data(stream, b"x" * 500, end_stream=True) == 500
    _, events = exchange(client, server)
    assert events[-1] == DataReceived(stream, b"x" * 500, True)


def test_large_data_is_cut_into_frames() -> None:
    client, server = pair()
    stream = client.open_stream(REQUEST)
    assert client.send_data(stream, bytes(100_000), end_stream=True) == 100_000
    _, events = exchange(client, server)
    sizes = [len(event.data) for event in events if isinstance(event, DataReceived)]
    assert sum(sizes) == 100_000
    assert max(sizes) == 16384


def test_long_header_block_is_continued() -> None:
    client, server = pair()
    headers = [*REQUEST, *((f"x-{number}", "v" * 1000) for number in range(40))]
    client.open_stream(headers, end_stream=True)
    _, events = exchange(client, server)
    assert events == [HeadersReceived(1, headers, True)]


def test_ping_is_answered_and_pong_reported() -> None:
    client, server = pair()
    client.ping(b"12345678")
    events, _ = exchange(client, server)
    assert events == [PongReceived(b"12345678")]


def test_reset_reaches_the_peer_and_late_frames_are_dropped() -> None:
    client, server = pair()
    stream = client.open_stream(REQUEST)
    exchange(client, server)
    server.reset(stream, ErrorCode.CANCEL)
    client.send_data(stream, b"late")
    events, at_server = exchange(client, server)
    assert events == [StreamReset(stream, ErrorCode.CANCEL)]
    assert at_server == []


def test_going_away_leaves_open_streams_and_ignores_new_ones() -> None:
    client, server = pair()
    first = client.open_stream(REQUEST)
    exchange(client, server)
    server.go_away()
    client.open_stream(REQUEST)
    at_client, at_server = exchange(client, server)
    assert at_client == [GoingAway(first, ErrorCode.NO_ERROR, b"")]
    assert at_server == []
    server.send_headers(first, hpack.encode([(":status", "200")]), end_stream=True)
    assert of(exchange(client, server)[0], HeadersReceived)


def test_too_many_streams_are_refused() -> None:
    client, server = pair(Limits(streams=2))
    for _ in range(3):
        client.open_stream(REQUEST)
    at_client, at_server = exchange(client, server)
    assert len(at_server) == 2
    assert at_client == [StreamReset(5, ErrorCode.REFUSED_STREAM)]


def test_lowered_header_table_is_acknowledged_in_the_next_block() -> None:
    server = opened()
    server.feed(frame(4, 0, 0, struct.pack(">HI", 1, 0)) + frame(1, 0x5, 1, hpack.encode(REQUEST)))
    server.take_output()
    server.send_headers(1, hpack.encode([(":status", "200")]), end_stream=True)
    assert server.take_output()[9:] == b"\x20\x88"


def test_smaller_initial_window_makes_windows_negative() -> None:
    server = opened()
    server.feed(frame(1, 0x5, 1, hpack.encode(REQUEST)))
    server.send_headers(1, hpack.encode([(":status", "200")]))
    assert server.send_data(1, bytes(40000)) == 40000
    server.feed(frame(4, 0, 0, struct.pack(">HI", 4, 10000)))
    assert server.send_data(1, b"x") == 0
    server.feed(frame(8, 0, 1, struct.pack(">I", 30001)))
    assert server.send_data(1, b"xx") == 1


def test_padding_and_priority_are_removed() -> None:
    server = opened()
    block = hpack.encode(REQUEST)
    events = server.feed(
        frame(1, 0x2C, 1, b"\x02" + b"\0\0\0\0\x10" + block + b"\0\0") + frame(0, 0x9, 1, b"\x03data\0\0\0")
    )
    assert events == [HeadersReceived(1, REQUEST, False), DataReceived(1, b"data", True)]


HEADERS = frame(1, 0x4, 1, hpack.encode(REQUEST))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frame(1, 0x4, 2, hpack.encode(REQUEST)), ErrorCode.PROTOCOL_ERROR),
        (frame(5, 0x4, 1, b"\0\0\0\2"), ErrorCode.PROTOCOL_ERROR),
        (frame(6, 0, 0, b"short"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(9, 0x4, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (frame(1, 0, 1, b"") + frame(6, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frame(1, 0x4, 1, b"\x80"), ErrorCode.COMPRESSION_ERROR),
        (HEADERS + frame(8, 0, 1, struct.pack(">I", 2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
        (frame(8, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (HEADERS + HEADERS, ErrorCode.PROTOCOL_ERROR),
        (HEADERS + frame(0, 0x8, 1, b"\x05abc"), ErrorCode.PROTOCOL_ERROR),
        (frame(4, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(4, 0, 0, struct.pack(">HI", 5, 1)), ErrorCode.PROTOCOL_ERROR),
        (frame(4, 0, 0, struct.pack(">HI", 4, 2**31)), ErrorCode.FLOW_CONTROL_ERROR),
        (b"\xff\xff\xff" + bytes(6), ErrorCode.FRAME_SIZE_ERROR),
        (frame(1, 0, 1, b"") + frame(9, 0, 1, b"") * 2, ErrorCode.ENHANCE_YOUR_CALM),
        (frame(1, 0, 1, bytes(16000)) + frame(9, 0, 1, bytes(16000)) * 5, ErrorCode.ENHANCE_YOUR_CALM),
    ],
)
def test_broken_frames_end_the_connection_with_their_code(data: bytes, code: ErrorCode) -> None:
    server = opened()
    with pytest.raises(Http2Error) as caught:
        server.feed(data)
    assert caught.value.code is code
    output = server.take_output()
    start = output.index(b"\x07\0\0\0\0\0")
    assert struct.unpack_from(">I", output, start + 10)[0] == code


def test_more_data_than_the_window_is_refused() -> None:
    server = opened()
    with pytest.raises(Http2Error) as caught:
        server.feed(HEADERS + frame(0, 0, 1, bytes(16384)) * 65)
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n\r\n", PREFACE + frame(6, 0, 0, bytes(8))])
def test_wrong_start(start: bytes) -> None:
    with pytest.raises(Http2Error):
        Http2Connection(client=False).feed(start)


FRAMES = st.builds(
    frame,
    st.integers(0, 11),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3, 5, 2**31 - 1]),
    st.one_of(st.binary(max_size=40), st.just(hpack.encode(REQUEST)), st.just(struct.pack(">I", 100))),
)


@given(st.lists(FRAMES, max_size=30))
def test_any_frames_are_events_or_an_http2_error(frames: list[bytes]) -> None:
    server = opened()
    try:
        server.feed(b"".join(frames))
    except Http2Error:
        pass
    assert server.open_streams <= len(frames)
