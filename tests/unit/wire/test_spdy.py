from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crio.wire.spdy import (
    DEFAULT_WINDOW,
    MAX_DATA,
    DataReceived,
    Event,
    GoingAway,
    Limits,
    PongReceived,
    ResetCode,
    SpdyConnection,
    SpdyError,
    StreamOpened,
    StreamReplied,
    StreamReset,
    WindowOpened,
    dictionary,
)
from steps import steps


def control(kind: int, flags: int, payload: bytes, version: int = 3) -> bytes:
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(payload)) + payload


def data_frame(stream_id: int, data: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", stream_id, flags << 24 | len(data)) + data


class Peer:
    """An independent client, written from the draft: frames by hand, headers with zlib."""

    def __init__(self) -> None:
        self.deflate = zlib.compressobj(zdict=dictionary())
        self.inflate = zlib.decompressobj(zdict=dictionary())

    def block(self, headers: Mapping[str, str]) -> bytes:
        raw = struct.pack(">I", len(headers))
        for pair in headers.items():
            for text in pair:
                raw += struct.pack(">I", len(text)) + text.encode()
        return self.deflate.compress(raw) + self.deflate.flush(zlib.Z_SYNC_FLUSH)

    def open(self, stream_id: int, headers: Mapping[str, str], flags: int = 0) -> bytes:
        return control(1, flags, struct.pack(">IIH", stream_id, 0, 0) + self.block(headers))

    def frames(self, output: bytes) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        while output:
            first, second = struct.unpack_from(">II", output)
            length = second & 0xFFFFFF
            payload, output = output[8 : 8 + length], output[8 + length :]
            if first & 0x80000000:
                found.append((first & 0xFFFF, second >> 24, payload))
            else:
                found.append(("data", first, second >> 24, payload))
        return found


def opened(limits: Limits | None = None) -> tuple[Peer, SpdyConnection]:
    server = SpdyConnection(client=False, limits=limits)
    server.take_output()
    return Peer(), server


def plain(events: list[Event]) -> list[Event]:
    """The events with data as bytes, so that they can be compared later."""
    return [replace(event, data=bytes(event.data)) if isinstance(event, DataReceived) else event for event in events]


def exchange(client: SpdyConnection, server: SpdyConnection) -> tuple[list[Event], list[Event]]:
    at_client: list[Event] = []
    at_server: list[Event] = []
    while client.pending or server.pending:
        at_server += plain(server.feed(client.take_output()))
        at_client += plain(client.feed(server.take_output()))
    return at_client, at_server


def test_dictionary_is_the_one_of_the_draft() -> None:
    assert len(dictionary()) == 1423
    digest = hashlib.sha256(dictionary()).hexdigest()
    assert digest == "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02"


def test_server_starts_with_its_settings_and_window() -> None:
    server = SpdyConnection(client=False, limits=Limits(window=1 << 20, streams=7))
    assert Peer().frames(server.take_output()) == [
        (4, 0, struct.pack(">IIIII", 2, 7, 1 << 20, 4, 7)),
        (9, 0, struct.pack(">II", 0, (1 << 20) - DEFAULT_WINDOW)),
    ]


def test_stream_from_an_independent_peer() -> None:
    peer, server = opened()
    events = server.feed(
        peer.open(1, {"streamtype": "stdin", "x": "y"}) + data_frame(1, b"hello") + data_frame(1, b"", 1)
    )
    assert plain(events) == [
        StreamOpened(1, {"streamtype": "stdin", "x": "y"}, False),
        DataReceived(1, memoryview(b"hello"), False),
        DataReceived(1, memoryview(b""), True),
    ]
    # The second block of headers leans on the first: the compression is one for the connection.
    assert server.feed(peer.open(3, {"Streamtype": "stdout"}, 1)) == [StreamOpened(3, {"streamtype": "stdout"}, True)]
    server.reply(1)
    server.reply(3, {"a": "b"})
    replies = peer.frames(server.take_output())
    assert [(frame[0], frame[2][:4]) for frame in replies] == [(2, b"\0\0\0\1"), (2, b"\0\0\0\3")]
    assert peer.inflate.decompress(replies[0][2][4:]) == b"\0\0\0\0"
    assert peer.inflate.decompress(replies[1][2][4:]) == b"\0\0\0\1\0\0\0\1a\0\0\0\1b"
    assert server.data_header(1, 3, fin=True) + b"abc" == data_frame(1, b"abc", 1)
    assert not server.is_open(1)
    server.end(3)
    assert server.take_output() == data_frame(3, b"", 1)
    assert server.open_streams == 0


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), max_size=60))
def test_events_do_not_depend_on_how_bytes_are_cut(cuts: list[int]) -> None:
    peer, server = opened()
    data = (
        peer.open(1, {"streamtype": "data"})
        + data_frame(1, b"x" * 300, 1)
        + peer.open(3, {})
        + control(6, 0, b"\0\0\0\1")
    )
    received = bytearray()
    kinds: list[type] = []
    fin = False
    for size in [*cuts, len(data)]:
        for event in server.feed(data[:size]):
            if isinstance(event, DataReceived):
                received += event.data
                fin = fin or event.fin
            else:
                kinds.append(type(event))
        data = data[size:]
    assert bytes(received) == b"x" * 300
    assert fin
    assert kinds == [StreamOpened, StreamOpened]
    assert Peer().frames(server.take_output()) == [(6, 0, b"\0\0\0\1")]


def test_both_sides_of_ours() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection(client=False)
    stream = client.open_stream({"streamType": "data", "port": "80"})
    _, at_server = exchange(client, server)
    assert StreamOpened(stream, {"streamtype": "data", "port": "80"}, False) in at_server
    server.reply(stream)
    ping = server.ping()
    server.go_away()
    at_client, at_server = exchange(client, server)
    assert at_client == [StreamReplied(stream, {}, False), GoingAway(stream, 0)]
    assert at_server == [PongReceived(ping)]


def test_peer_without_flow_control_is_not_held_to_windows() -> None:
    peer, server = opened()
    server.feed(peer.open(1, {}))
    server.data_header(1, 10 * DEFAULT_WINDOW)
    assert server.window(1) == MAX_DATA


def test_peer_with_flow_control_is_held_to_windows() -> None:
    peer, server = opened()
    settings = control(4, 0, struct.pack(">III", 1, 7, 100_000))
    assert server.feed(settings + peer.open(1, {}))[0] == WindowOpened(0)
    assert server.window(1) == DEFAULT_WINDOW  # the connection's own window is the smaller one
    server.data_header(1, DEFAULT_WINDOW)
    assert server.window(1) == 0
    assert server.feed(control(9, 0, struct.pack(">II", 0, 1_000_000))) == [WindowOpened(0)]
    assert server.window(1) == 100_000 - DEFAULT_WINDOW
    assert server.feed(control(9, 0, struct.pack(">II", 1, 500))) == [WindowOpened(1)]
    assert server.window(1) == 100_500 - DEFAULT_WINDOW


def test_consumed_data_gives_windows_back() -> None:
    peer, server = opened(Limits(window=1000))
    server.feed(peer.open(1, {}) + data_frame(1, bytes(600)))
    server.consume(1, 499)
    assert server.take_output() == b""
    server.consume(1, 1)
    update = struct.pack(">II", 0, 500), struct.pack(">II", 1, 500)
    assert peer.frames(server.take_output()) == [(9, 0, update[0]), (9, 0, update[1])]


def test_reset_and_late_data() -> None:
    peer, server = opened()
    server.feed(peer.open(1, {}) + peer.open(3, {}))
    server.reset(1, ResetCode.CANCEL)
    assert peer.frames(server.take_output()) == [(3, 0, struct.pack(">II", 1, 5))]
    assert server.feed(data_frame(1, b"late")) == []
    assert server.feed(control(3, 0, struct.pack(">II", 3, 5))) == [StreamReset(3, 5)]
    server.end(3)
    assert server.take_output() == b""
    assert server.window(3) == 0


def test_too_many_streams_are_refused() -> None:
    peer, server = opened(Limits(streams=2))
    events = server.feed(peer.open(1, {}) + peer.open(3, {}) + peer.open(5, {}))
    assert len(events) == 2
    assert peer.frames(server.take_output()) == [(3, 0, struct.pack(">II", 5, ResetCode.REFUSED_STREAM))]


def test_large_data_frame_is_not_gathered() -> None:
    peer, server = opened()
    server.feed(peer.open(1, {}) + struct.pack(">II", 1, MAX_DATA))
    for _ in range(10):
        (event,) = server.feed(bytes(1000))
        assert isinstance(event, DataReceived)
        assert len(event.data) == 1000


def header_bomb() -> bytes:
    raw = struct.pack(">III", 1, 1, 0x61000000)[:9] + struct.pack(">I", 50_000_000)
    deflate = zlib.compressobj(9, zdict=dictionary())
    return deflate.compress(raw + bytes(50_000_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    "frames",
    [
        control(1, 0, b"\0\0\0\1\0\0\0\0\0\0" + b"not zlib"),
        control(1, 0, b"\0\0"),
        control(2, 0, b""),
        control(4, 0, struct.pack(">I", 5)),
        control(4, 0, struct.pack(">III", 1, 7, 2**32 - 1)),
        control(6, 0, b"123"),
        control(6, 0, b"1234", version=2),
        control(9, 0, struct.pack(">II", 0, 2**31 - 1)),
        struct.pack(">HHI", 0x8003, 1, 100_000),
        data_frame(0, b"x"),
        data_frame(99, b"x"),
        Peer().open(2, {}),
        (lambda peer: peer.open(3, {}) + peer.open(1, {}))(Peer()),
        control(1, 0, b"\0\0\0\1\0\0\0\0\0\0" + header_bomb()[:65000]),
        control(1, 0, b"\0\0\0\1\0\0\0\0\0\0" + zlib.compressobj(zdict=dictionary()).flush()),
        control(1, 0, b"\0\0\0\1\0\0\0\0\0\0" + zlib.compress(b"\0\0\0\0")),
    ],
)
def test_broken_frames_end_the_connection(frames: bytes) -> None:
    _, server = opened()
    with pytest.raises(SpdyError):
        server.feed(frames)
    assert (7, 0, struct.pack(">II", 0, 1)[4:]) in [(f[0], f[1], f[2][4:]) for f in Peer().frames(server.take_output())]


def test_header_count_that_lies() -> None:
    peer, server = opened()
    raw = struct.pack(">I", 2**31)
    block = peer.deflate.compress(raw) + peer.deflate.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(SpdyError):
        server.feed(control(1, 0, b"\0\0\0\1\0\0\0\0\0\0" + block))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_events_or_a_spdy_error(data: bytes, behind_a_control_header: bool) -> None:
    peer, server = opened()
    server.feed(peer.open(1, {}))
    if behind_a_control_header:
        data = control(data[0] % 11 if data else 0, 0, data)
    try:
        server.feed(data)
    except SpdyError:
        assert server.going_away


def test_a_few_bytes_do_not_become_thousands_of_headers() -> None:
    peer, server = opened()
    raw = struct.pack(">I", 8000) + bytes(8 * 8000)
    block = peer.deflate.compress(raw) + peer.deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(block) < 200
    with pytest.raises(SpdyError, match="more than 100 headers"):
        server.feed(control(1, 0, struct.pack(">IIH", 1, 0, 0) + block))


def test_settings_cost_no_more_with_many_streams() -> None:
    peer, server = opened()
    settings_frame = control(4, 0, struct.pack(">III", 1, 7, 70_000))
    before = steps(lambda: server.feed(settings_frame))
    for number in range(500):
        server.feed(peer.open(2 * number + 1, {"streamtype": "data"}))
    server.data_header(7, 50_000)
    assert steps(lambda: server.feed(settings_frame)) < 2 * before
    assert [server.window(stream_id) for stream_id in (1, 7)] == [15_536, 15_536]
    server.feed(control(9, 0, struct.pack(">II", 0, 1 << 20)))
    assert [server.window(stream_id) for stream_id in (1, 7)] == [70_000, 20_000]
    server.feed(control(4, 0, struct.pack(">III", 1, 7, 40_000)))
    assert [server.window(stream_id) for stream_id in (1, 7)] == [40_000, 0]
