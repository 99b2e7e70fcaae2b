from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.wire.http1 import (
    HttpError,
    Limits,
    Request,
    RequestReader,
    Response,
    ResponseReader,
    encode_head,
    encode_request,
    encode_response,
)


def read(data: bytes, limits: Limits | None = None) -> Request | None:
    reader = RequestReader(limits)
    reader.feed(data)
    return reader.next_request()


def test_get() -> None:
    request = read(b"GET /info?a=1&a=2&b= HTTP/1.1\r\nHost: crio\r\nX-A:  v \r\nx-a: w, z\r\n\r\n")
    assert request is not None
    assert (request.method, request.path, request.query) == ("GET", "/info", {"a": ["1", "2"], "b": [""]})
    assert request.headers.get("X-a") == "v"
    assert request.headers.items_of("x-A") == ["v", "w", "z"]
    assert request.keep_alive
    assert request.body == b""


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"//[", "//[", {}),
        (b"//host/a", "//host/a", {}),
        (b"/%5B?a=%23&//[#b?c", "/[", {"a": ["#"], "//[": [""]}),
        (b"/", "/", {}),
    ],
)
def test_any_target_has_a_path(target: bytes, path: str, query: dict[str, list[str]]) -> None:
    request = read(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    assert request is not None
    assert (request.path, request.query) == (path, query)


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
    ],
)
def test_keep_alive(head: bytes, keep: bool) -> None:
    request = read(head)
    assert request is not None
    assert request.keep_alive is keep


def test_upgrade_keeps_what_follows_for_the_next_protocol() -> None:
    reader = RequestReader()
    reader.feed(b"POST /exec/x HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n\x80\x03")
    request = reader.next_request()
    assert request is not None
    assert request.wants_upgrade("spdy/3.1")
    assert not request.wants_upgrade("websocket")
    assert reader.take_rest() == b"\x80\x03"


PIPELINE = (
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n"
)


@given(st.lists(st.integers(1, 20), max_size=100))
def test_pipelined_requests_do_not_depend_on_how_bytes_are_cut(cuts: list[int]) -> None:
    reader, data = RequestReader(), PIPELINE
    seen: list[tuple[str, bytes]] = []
    for size in [*cuts, len(data)]:
        reader.feed(data[:size])
        data = data[size:]
        while (request := reader.next_request()) is not None:
            seen.append((request.path, request.body))
    assert seen == [("/a", b"hello"), ("/b", b"abcde"), ("/c", b"")]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("GET / HTTP/1.1\nHost: x\n\n\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("G\tT / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\na\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: " + "b" * 2000, 431),
        ("GET / HTTP/1.1\r\nHost: x\r\n" + "a: b\r\n" * 20 + "\r\n", 431),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(text: str, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        read(text.encode("latin-1"), Limits(head=1000, body=10, headers=10))
    assert caught.value.status == status


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_an_http_error(data: bytes) -> None:
    reader = RequestReader(Limits(head=100, body=20))
    reader.feed(data)
    try:
        request = reader.next_request()
    except HttpError:
        return
    assert request is None or request.target.startswith("/")


@pytest.mark.parametrize(
    "response",
    [Response(200, b"hello", "text/plain"), Response(404), Response(204), Response(101, headers=(("Upgrade", "x"),))],
)
def test_response_round_trip(response: Response) -> None:
    reader = ResponseReader()
    reader.feed(encode_response(response) + b"rest")
    found = reader.next_response()
    assert found is not None
    assert (found.status, found.body, found.content_type) == (response.status, response.body, response.content_type)
    assert reader.take_rest() == b"rest"


def test_response_until_close_and_chunked() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert reader.next_response() is None
    found = reader.next_response(at_eof=True)
    assert found is not None
    assert found.body == b"abc"
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
    found = reader.next_response()
    assert found is not None
    assert found.body == b"ab"


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\nConte", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", b"nonsense\r\n\r\n"]
)
def test_cut_off_or_malformed_response(data: bytes) -> None:
    reader = ResponseReader()
    reader.feed(data)
    with pytest.raises(HttpError):
        reader.next_response(at_eof=True)


def test_head_response_has_a_length_and_no_body() -> None:
    data = encode_response(Response(200, b"hello"), to_head_request=True, keep_alive=False)
    assert data.endswith(b"\r\n\r\n")
    reader = ResponseReader(to_head_request=True)
    reader.feed(data)
    found = reader.next_response()
    assert found is not None
    assert dict(found.headers) == {"Content-Length": "5", "Connection": "close"}


def test_header_injection_is_refused() -> None:
    with pytest.raises(ValueError, match="x-a"):
        encode_head("GET / HTTP/1.1", [("x-a", "b\r\nEvil: 1")])


def test_encoded_request_is_read_back() -> None:
    request = read(encode_request("POST", "/x", [("Host", "n")], b"abc"))
    assert request is not None
    assert (request.method, request.body) == ("POST", b"abc")
