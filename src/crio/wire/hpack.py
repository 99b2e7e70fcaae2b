"""HPACK, the header compression of HTTP/2 (RFC 7541), without I/O.

The decoder does all of it. The encoder never uses the dynamic table: on a unix socket a few bytes matter less than the
work, and a block that depends on nothing can be built once and sent a million times.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from functools import lru_cache

import msgspec

Header = tuple[str, str]

DEFAULT_TABLE_SIZE = 4096
ENTRY_OVERHEAD = 32
"""What every header counts beyond its characters, in the table and in the header list (RFC 7541 4.1)."""

_STATIC: tuple[Header, ...] = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
)

_CODE_LENGTHS = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJBKABABABBBACCBBBABCBAABCCCCCKGJI"
    "XPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRSVVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
)
"""Bits of the Huffman code of each octet and of the end marker (RFC 7541 B), A for 5. The code is canonical, so the
lengths are the whole table."""
_LONGEST = 30
_END_MARKER = 256


class HpackError(Exception):
    """A header block breaks RFC 7541 or a limit; the connection cannot go on (COMPRESSION_ERROR)."""


class _Huffman(msgspec.Struct, frozen=True):
    """One row per code length: the lowest code, left-aligned to 30 bits, and where its symbols start."""

    limits: tuple[int, ...]
    lengths: tuple[int, ...]
    starts: tuple[int, ...]
    symbols: tuple[int, ...]


@lru_cache(maxsize=1)
def _huffman() -> _Huffman:
    lengths = [ord(letter) - ord("A") + 5 for letter in _CODE_LENGTHS]
    symbols = sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol))
    rows: list[tuple[int, int, int]] = []
    code = 0
    for position, symbol in enumerate(symbols):
        length = lengths[symbol]
        if not rows or rows[-1][1] != length:
            code <<= length - rows[-1][1] if rows else 0
            rows.append((code << (_LONGEST - length), length, position))
        code += 1
    limits, sizes, starts = zip(*rows, strict=True)
    return _Huffman(limits, sizes, starts, tuple(symbols))


def huffman_decode(data: bytes) -> bytes:
    """The octets behind a Huffman-coded string. Raises HpackError on the end marker or wrong padding."""
    table = _huffman()
    limits, lengths, starts, symbols = table.limits, table.lengths, table.starts, table.symbols
    out = bytearray()
    window = bits = 0
    for octet in data:
        window = window << 8 | octet
        bits += 8
        while bits >= 5:
            aligned = window << (_LONGEST - bits) if bits <= _LONGEST else window >> (bits - _LONGEST)
            row = bisect_right(limits, aligned) - 1
            length = lengths[row]
            if length > bits:
                break
            symbol = symbols[starts[row] + ((aligned - limits[row]) >> (_LONGEST - length))]
            if symbol == _END_MARKER:
                raise HpackError("cannot read header: the Huffman end marker is inside a string")
            out.append(symbol)
            bits -= length
            window &= (1 << bits) - 1
    if bits > 7 or window != (1 << bits) - 1:
        raise HpackError("cannot read header: a Huffman string is not padded with ones")
    return bytes(out)


class HeaderDecoder:
    """Decodes the header blocks of one direction of one connection.

    `max_table_size` is what our SETTINGS_HEADER_TABLE_SIZE promised, `max_list_size` bounds the sum over the headers of
    one block (lengths plus 32 each): a small block can refer to one large table entry many times.
    """

    def __init__(self, *, max_table_size: int = DEFAULT_TABLE_SIZE, max_list_size: int) -> None:
        self._limit = max_table_size
        self._max_list_size = max_list_size
        self._capacity = max_table_size
        self._entries: deque[Header] = deque()
        self._size = 0

    def decode(self, block: bytes) -> list[Header]:
        """The headers of a whole block, names and values as latin-1 text. Raises HpackError."""
        headers: list[Header] = []
        position, end, total = 0, len(block), 0
        try:
            while position < end:
                first = block[position]
                if first & 0x80:
                    index, position = _read_integer(block, position, 0x7F)
                    header = self._entry(index)
                elif first & 0x40:
                    header, position = self._read_literal(block, position, 0x3F)
                    self._insert(header)
                elif first & 0x20:
                    size, position = _read_integer(block, position, 0x1F)
                    if headers or size > self._limit:
                        raise HpackError(f"cannot read header block: a table size of {size} bytes is out of place")
                    self._capacity = size
                    self._evict(0)
                    continue
                else:
                    header, position = self._read_literal(block, position, 0x0F)
                total += len(header[0]) + len(header[1]) + ENTRY_OVERHEAD
                if total > self._max_list_size:
                    raise HpackError(f"cannot read header block: it holds more than {self._max_list_size} bytes")
                headers.append(header)
        except IndexError:
            raise HpackError("cannot read header block: it ends inside a header") from None
        return headers

    def _entry(self, index: int) -> Header:
        if 0 < index <= len(_STATIC):
            return _STATIC[index - 1]
        index -= len(_STATIC) + 1
        if not 0 <= index < len(self._entries):
            raise HpackError("cannot read header: its index is not in the table")
        return self._entries[index]

    def _read_literal(self, block: bytes, position: int, mask: int) -> tuple[Header, int]:
        index, position = _read_integer(block, position, mask)
        if index:
            name = self._entry(index)[0]
        else:
            name, position = _read_string(block, position)
        value, position = _read_string(block, position)
        return (name, value), position

    def _insert(self, header: Header) -> None:
        size = len(header[0]) + len(header[1]) + ENTRY_OVERHEAD
        self._evict(size)
        if size <= self._capacity:
            self._entries.appendleft(header)
            self._size += size

    def _evict(self, room: int) -> None:
        while self._entries and self._size + room > self._capacity:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD


def encode(headers: Iterable[Header]) -> bytes:
    """A header block that uses the static table only, and so is right for any connection at any time."""
    exact, names = _static_indexes()
    out = bytearray()
    for header in headers:
        name, value = header
        if index := exact.get(header):
            out.append(0x80 | index)
            continue
        if index := names.get(name, 0):
            _write_integer(out, 0x0F, index)
        else:
            out.append(0)
            _write_string(out, name)
        _write_string(out, value)
    return bytes(out)


TABLE_SIZE_ZERO = b"\x20"
"""Stands before the first block after the peer lowered its table size (RFC 7541 4.2)."""


@lru_cache(maxsize=1)
def _static_indexes() -> tuple[dict[Header, int], dict[str, int]]:
    exact = {header: index for index, header in enumerate(_STATIC, 1) if header[1]}
    names = {header[0]: index for index, header in reversed(list(enumerate(_STATIC, 1)))}
    return exact, names


def _read_integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, position
        shift += 7
        if shift > 28:
            raise HpackError("cannot read header: an integer is longer than 32 bits")


def _read_string(block: bytes, position: int) -> tuple[str, int]:
    huffman = block[position] & 0x80
    length, position = _read_integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise HpackError("cannot read header block: it ends inside a string")
    data = block[position:end]
    return (huffman_decode(data) if huffman else data).decode("latin-1"), end


def _write_integer(out: bytearray, mask: int, value: int) -> None:
    if value < mask:
        out.append(value)
        return
    out.append(mask)
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _write_string(out: bytearray, text: str) -> None:
    data = text.encode("latin-1")
    _write_integer(out, 0x7F, len(data))
    out += data
