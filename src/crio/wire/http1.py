"""HTTP/1.1 messages (RFC 9112) without I/O: requests for servers, responses for clients.

Strict where leniency lets two readers of one byte stream disagree about where a message ends (request smuggling): lines
end with CRLF, no folded lines, one Content-Length or exactly `chunked`, never both, no white space before a colon. A
request that breaks a rule is refused as a whole, and its connection cannot be used any more. Everything has a limit.
"""

from __future__ import annotations

import enum
import http
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from crio.base.regex import regex

_TOKEN = regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = regex(r"/[\x21-\x7e]*")
_VALUE = regex(r"[\t\x20-\x7e\x80-\xff]*")
_CHUNK_SIZE = regex(rb"[0-9A-Fa-f]{1,8}")
_STATUS_LINE = regex(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_END_OF_HEAD = b"\r\n\r\n"


class HttpError(Exception):
    """The peer's message cannot be accepted. `status` is what a server answers before it closes the connection."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"cannot read HTTP message: {reason}")
        self.status = status


class Limits(msgspec.Struct, frozen=True):
    """Bytes of one message's head and body, and number of its header lines."""

    head: int = 32768
    body: int = 1 << 20
    headers: int = 100


class Headers:
    """Header lines in their order; names are compared without regard to case."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Iterable[tuple[str, str]] = ()) -> None:
        self._lines = tuple(lines)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def all(self, name: str) -> list[str]:
        """The values of all lines with this name."""
        name = name.lower()
        return [value for key, value in self._lines if key.lower() == name]

    def get(self, name: str, default: str = "") -> str:
        """The value of the first line with this name."""
        return next(iter(self.all(name)), default)

    def items_of(self, name: str) -> list[str]:
        """The comma-separated items of all lines with this name, stripped, as they are spelt."""
        return [item.strip() for value in self.all(name) for item in value.split(",") if item.strip()]

    def has_item(self, name: str, item: str) -> bool:
        """Whether one of the items equals `item` without regard to case."""
        return item.lower() in (each.lower() for each in self.items_of(name))


class Request(msgspec.Struct, frozen=True):
    """One request with its whole body."""

    method: str
    target: str
    headers: Headers
    body: bytes = b""
    minor_version: int = 1

    @property
    def path(self) -> str:
        """The target's path, percent-decoded."""
        return urllib.parse.unquote(self._parts[0])

    @property
    def query(self) -> dict[str, list[str]]:
        return urllib.parse.parse_qs(self._parts[2], keep_blank_values=True)

    @property
    def _parts(self) -> tuple[str, str, str]:
        """Not as a URL is taken apart: a path that begins with two slashes is no host, and may have any characters."""
        return self.target.partition("#")[0].partition("?")

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to send another request on the connection."""
        if self.headers.has_item("connection", "close"):
            return False
        return self.minor_version == 1 or self.headers.has_item("connection", "keep-alive")

    def wants_upgrade(self, protocol: str) -> bool:
        """Whether the client asks to go on with `protocol` (as `websocket` or `SPDY/3.1`)."""
        return self.headers.has_item("connection", "upgrade") and self.headers.has_item("upgrade", protocol)


class Response(msgspec.Struct, frozen=True):
    status: int
    body: bytes = b""
    content_type: str = ""
    headers: Sequence[tuple[str, str]] = ()
    reason: str = ""


class _Framing(enum.Enum):
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()


class _Reader:
    """The part that requests and responses share: a head, then a body whose framing the head tells."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        self._body = bytearray()
        self._chunk = -1
        """Size of the chunk whose data is next; -1 if its size is next, 0 after the last one."""

    def feed(self, data: bytes) -> None:
        """Add received bytes; the `next_…` method then tells whether a message is complete."""
        self._buffer += data

    def take_rest(self) -> bytes:
        """What was received after the last complete message: belongs to the protocol that was upgraded to."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest

    def _take_head(self) -> list[str] | None:
        """The lines of the next head, without their ends; None if it is not complete."""
        buffer = self._buffer
        end = buffer.find(_END_OF_HEAD, max(self._scanned - 3, 0))
        if end > self._limits.head or (end < 0 and len(buffer) > self._limits.head):
            raise HttpError(431, f"its head is longer than {self._limits.head} bytes")
        if end < 0:
            self._scanned = len(buffer)
            return None
        text = buffer[:end].decode("latin-1")
        del buffer[: end + len(_END_OF_HEAD)]
        self._scanned = 0
        lines = text.split("\r\n")
        if len(lines) > self._limits.headers + 1:
            raise HttpError(431, f"it has more than {self._limits.headers} header lines")
        return lines

    def _take_body(self, framing: _Framing, length: int) -> bytes | None:
        """The body, or None if it is not complete."""
        if framing is _Framing.LENGTH:
            if len(self._buffer) < length:
                return None
            body = bytes(self._buffer[:length])
            del self._buffer[:length]
            return body
        while True:
            if self._chunk > 0:
                end = self._chunk
                if len(self._buffer) < end + 2:
                    return None
                if self._buffer[end : end + 2] != b"\r\n":
                    raise HttpError(400, "a chunk is longer than its size")
                self._body += self._buffer[:end]
                del self._buffer[: end + 2]
                self._chunk = -1
            line = self._take_line()
            if line is None:
                return None
            if self._chunk == 0:
                if line:
                    raise HttpError(400, "it has trailers, which are not supported")
                body, self._body, self._chunk = bytes(self._body), bytearray(), -1
                return body
            if not _CHUNK_SIZE.fullmatch(line):
                raise HttpError(400, "a chunk has no plain hexadecimal size")
            self._chunk = int(line, 16)
            if len(self._body) + self._chunk > self._limits.body:
                raise HttpError(413, f"its body is longer than {self._limits.body} bytes")

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > self._limits.head:
                raise HttpError(400, "a chunk's line has no end")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _framing(self, headers: Headers, minor_version: int) -> tuple[_Framing, int] | None:
        """How the body is delimited according to the headers; None if they do not say."""
        lengths, codings = headers.all("content-length"), headers.all("transfer-encoding")
        if codings:
            if lengths:
                raise HttpError(400, "it has both Content-Length and Transfer-Encoding")
            if minor_version == 0 or [coding.lower() for coding in codings] != ["chunked"]:
                raise HttpError(501, "its Transfer-Encoding is not chunked")
            return _Framing.CHUNKED, 0
        if not lengths:
            return None
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise HttpError(400, "its Content-Length is not one number")
        if len(lengths[0]) > 18 or int(lengths[0]) > self._limits.body:
            raise HttpError(413, f"its body is longer than {self._limits.body} bytes")
        return _Framing.LENGTH, int(lengths[0])


class RequestReader(_Reader):
    """Reads the requests of one connection, one after the other."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        self._head: tuple[Request, _Framing, int] | None = None

    def next_request(self) -> Request | None:
        """The next complete request, None if more bytes are needed. Raises HttpError."""
        if self._head is None:
            if (lines := self._take_head()) is None:
                return None
            request = _parse_request(lines)
            framing = self._framing(request.headers, request.minor_version) or (_Framing.LENGTH, 0)
            self._head = (request, *framing)
        request, kind, length = self._head
        if (body := self._take_body(kind, length)) is None:
            return None
        self._head = None
        return (
            Request(request.method, request.target, request.headers, body, request.minor_version) if body else request
        )


class ResponseReader(_Reader):
    """Reads the responses of one connection, for a client. After one with status 101 nothing is HTTP any more."""

    def __init__(self, limits: Limits | None = None, *, to_head_request: bool = False) -> None:
        super().__init__(limits or Limits())
        self._no_body = to_head_request
        self._head: tuple[Response, _Framing, int] | None = None

    def next_response(self, *, at_eof: bool = False) -> Response | None:
        """The complete response, None if more bytes are needed. `at_eof` says that no more come. Raises HttpError."""
        if self._head is None:
            if (lines := self._take_head()) is None:
                if at_eof:
                    raise HttpError(502, "the connection ended inside the head")
                return None
            self._head = self._parse_response(lines)
        response, framing, length = self._head
        if framing is _Framing.UNTIL_CLOSE:
            if len(self._buffer) > self._limits.body:
                raise HttpError(413, f"its body is longer than {self._limits.body} bytes")
            body = self.take_rest() if at_eof else None
        else:
            body = self._take_body(framing, length)
            if body is None and at_eof:
                raise HttpError(502, "the connection ended inside the body")
        if body is None:
            return None
        self._head = None
        return Response(response.status, body, response.content_type, response.headers, response.reason)

    def _parse_response(self, lines: list[str]) -> tuple[Response, _Framing, int]:
        match = _STATUS_LINE.fullmatch(lines[0])
        if match is None:
            raise HttpError(502, "its status line is malformed")
        headers = _parse_headers(lines[1:])
        status = int(match[2])
        content_type = headers.get("content-type")
        response = Response(status, b"", content_type, tuple(headers), match[3] or "")
        if self._no_body or status < 200 or status in (204, 304):
            return response, _Framing.LENGTH, 0
        return (response, *(self._framing(headers, int(match[1])) or (_Framing.UNTIL_CLOSE, 0)))


def _parse_request(lines: list[str]) -> Request:
    parts = lines[0].split(" ")
    if len(parts) != 3:
        raise HttpError(400, "its request line is malformed")
    method, target, version = parts
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505, "its version is neither HTTP/1.1 nor HTTP/1.0")
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise HttpError(400, "its method or target is malformed")
    headers = _parse_headers(lines[1:])
    minor_version = int(version[-1])
    hosts = len(headers.all("host"))
    if hosts > 1 or (minor_version == 1 and not hosts):
        raise HttpError(400, "it has not exactly one Host")
    return Request(method, target, headers, b"", minor_version)


def _parse_headers(lines: list[str]) -> Headers:
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise HttpError(400, "a header line is malformed")
        headers.append((name, value))
    return Headers(headers)


def encode_head(first_line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A message's head. Raises ValueError if a header could be read as more than one line."""
    lines = [first_line]
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"cannot send header {name!r}: it has characters that a header must not have")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def encode_response(response: Response, *, keep_alive: bool = True, to_head_request: bool = False) -> bytes:
    """A response with its length, ready to be sent."""
    headers = list(response.headers)
    if response.content_type:
        headers.append(("Content-Type", response.content_type))
    if response.status >= 200 and response.status != 204:
        headers.append(("Content-Length", str(len(response.body))))
    if not keep_alive:
        headers.append(("Connection", "close"))
    head = encode_head(f"HTTP/1.1 {response.status} {response.reason or status_phrase(response.status)}", headers)
    return head if to_head_request else head + response.body


def encode_request(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> bytes:
    """A request with its length if it has a body, ready to be sent. `headers` must hold Host."""
    length = [("Content-Length", str(len(body)))] if body or method in ("POST", "PUT", "PATCH") else []
    return encode_head(f"{method} {target} HTTP/1.1", [*headers, *length]) + body


def status_phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
