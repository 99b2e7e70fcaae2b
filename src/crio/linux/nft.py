"""nf_tables: tables, chains, rules, sets and maps in one atomic transaction, through netlink and without a program.

A rule is a list of expressions, each the bytes that a function here makes; registers are those of nft(8)'s own debug
output. `nft list ruleset` shows what was made in its own words, comments included.
"""

from __future__ import annotations

import contextlib
import errno
import struct
import threading
from collections.abc import Iterator

import msgspec

from crio.linux.netlink import (
    NETLINK_NETFILTER,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    NetlinkError,
    attribute,
    attribute_table,
    attributes,
    be32,
    be64,
    nested,
    text,
    to_text,
)

NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 = 1, 2, 10
HOOK_PREROUTING, HOOK_INPUT, HOOK_FORWARD, HOOK_OUTPUT, HOOK_POSTROUTING = range(5)
PRIORITY_RAW, PRIORITY_DSTNAT, PRIORITY_SRCNAT = -300, -100, 100

TYPE_IPV4_ADDR, TYPE_IPV6_ADDR, TYPE_INET_PROTO, TYPE_INET_SERVICE = 7, 8, 12, 13
"""nft(8)'s numbers of data types, by which it prints the elements of a set."""

MAX_COMMENT = 128
"""Bytes of a comment at most, as in nft(8)."""

REG_1, REG_2 = 1, 2
REG32_00 = 8
"""The first of the 4-byte registers that keys of several fields are put together in."""

_SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWTABLE, _DELTABLE = 0, 2
_NEWCHAIN = 3
_NEWRULE, _GETRULE, _DELRULE = 6, 7, 8
_NEWSET = 9
_NEWELEM, _GETELEM, _DELELEM = 12, 13, 14
_LIST_ELEM = 1
_REG_VERDICT = 0
_ACCEPT, _DROP, _JUMP, _GOTO, _RETURN = 1, 0, -3, -4, -5
_SET_MAP = 0x8


class Table(msgspec.Struct, frozen=True):
    """A table's address: NFPROTO_* family and name."""

    family: int
    name: str


class Rule(msgspec.Struct, frozen=True):
    handle: int
    comment: str


class Element(msgspec.Struct, frozen=True):
    """An element of a set, or of a map with `data`."""

    key: bytes
    data: bytes
    comment: str


# Expressions


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(_LIST_ELEM, text(1, name), nested(2, *parts))


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(1, data))


def payload(base: int, offset: int, length: int, register: int = REG_1) -> bytes:
    """Load bytes of the packet: `base` 1 is the network header, 2 the transport header."""
    return _expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))


def compare(data: bytes, *, equal: bool = True) -> bytes:
    """Go on only if the first register has (or has not) this value."""
    return _expression("cmp", be32(1, REG_1), be32(2, 0 if equal else 1), _value(3, data))


def mask(data: bytes) -> bytes:
    """Keep only the bits of the first register that are set in `data`."""
    zero = bytes(len(data))
    return _expression("bitwise", be32(1, REG_1), be32(2, REG_1), be32(3, len(data)), _value(4, data), _value(5, zero))


def meta(key: int, register: int = REG_1) -> bytes:
    return _expression("meta", be32(1, register), be32(2, key))


META_NFPROTO, META_L4PROTO, META_IIFNAME = 15, 16, 6


def load_conntrack_status() -> bytes:
    """A 32-bit word in the machine's byte order; CT_STATUS_* are its bits."""
    return _expression("ct", be32(1, REG_1), be32(2, 2))


CT_STATUS_DNAT = 1 << 5


def load_destination_type() -> bytes:
    """What the routing table says of the destination address: 2 is local, in the machine's byte order."""
    return _expression("fib", be32(1, REG_1), be32(2, 3), be32(3, 2))


ADDRESS_LOCAL = struct.pack("=I", 2)


def immediate(data: bytes, register: int) -> bytes:
    return _expression("immediate", be32(1, register), _value(2, data))


def lookup(set_name: str, register: int, result: int | None = None) -> bytes:
    """Go on only if the key is in the set; of a map, put its value into `result`."""
    found = b"" if result is None else be32(3, result)
    return _expression("lookup", text(1, set_name), be32(2, register), found)


def dnat(family: int, address: int, port: int) -> bytes:
    """Rewrite the destination to the address and port in these registers."""
    # NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED
    return _expression("nat", be32(1, 1), be32(2, family), be32(3, address), be32(5, port), be32(7, 3))


def masquerade() -> bytes:
    return _expression("masq")


def _verdict(code: int, chain: str = "") -> bytes:
    inner = attribute(1, struct.pack(">i", code)) + (text(2, chain) if chain else b"")
    return _expression("immediate", be32(1, _REG_VERDICT), nested(2, nested(2, inner)))


def accept() -> bytes:
    return _verdict(_ACCEPT)


def drop() -> bytes:
    return _verdict(_DROP)


def return_() -> bytes:
    return _verdict(_RETURN)


def jump(chain: str) -> bytes:
    return _verdict(_JUMP, chain)


def goto(chain: str) -> bytes:
    return _verdict(_GOTO, chain)


def concatenated(*types: int) -> int:
    """nft(8)'s number of a key made of several types."""
    number = 0
    for part in types:
        number = (number << 6) | part
    return number


def padded(*fields: bytes) -> bytes:
    """A key or value of several fields: each filled up to four bytes, as the registers are."""
    return b"".join(field + b"\0" * (-len(field) % 4) for field in fields)


# Transactions


class Batch:
    """Changes that the kernel makes all at once or not at all; adding what exists already is fine."""

    def __init__(self) -> None:
        self._messages: list[tuple[int, int, bytes]] = []
        self._what: list[str] = []
        self._set_ids = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add_table(self, table: Table, comment: str = "") -> None:
        self._add(_NEWTABLE, NLM_F_CREATE, table, text(1, table.name) + _comment(6, comment), f"table {table.name}")

    def delete_table(self, table: Table) -> None:
        """Fails the batch if there is no such table: add it first to be sure."""
        self._add(_DELTABLE, 0, table, text(1, table.name), f"table {table.name}")

    def add_chain(self, table: Table, name: str, comment: str = "") -> None:
        """A chain that is reached by jumps."""
        self._add(_NEWCHAIN, NLM_F_CREATE, table, text(1, table.name) + text(3, name) + _comment(12, comment), name)

    def add_base_chain(self, table: Table, name: str, kind: str, hook: int, priority: int) -> None:
        """A chain of `kind` "nat" or "filter" that the packets of a hook pass through; its policy is to accept."""
        hooked = nested(4, be32(1, hook), attribute(2, struct.pack(">i", priority)))
        body = text(1, table.name) + text(3, name) + hooked + be32(5, _ACCEPT) + text(7, kind)
        self._add(_NEWCHAIN, NLM_F_CREATE, table, body, name)

    def flush_chain(self, table: Table, chain: str) -> None:
        self._add(_DELRULE, 0, table, text(1, table.name) + text(2, chain), chain)

    def add_rule(self, table: Table, chain: str, *expressions: bytes, comment: str = "") -> None:
        body = text(1, table.name) + text(2, chain) + nested(4, *expressions) + _comment(7, comment)
        # NLM_F_APPEND
        self._add(_NEWRULE, NLM_F_CREATE | 0x800, table, body, f"rule of {chain}")

    def delete_rule(self, table: Table, chain: str, handle: int) -> None:
        self._add(_DELRULE, 0, table, text(1, table.name) + text(2, chain) + be64(3, handle), f"rule of {chain}")

    def add_set(
        self,
        table: Table,
        name: str,
        key_type: int,
        key_length: int,
        *,
        data_type: int = 0,
        data_length: int = 0,
    ) -> None:
        """A set of keys, or with a data type a map; lengths are those of the padded fields."""
        self._set_ids += 1
        is_map = bool(data_type)
        body = text(1, table.name) + text(2, name) + be32(3, _SET_MAP if is_map else 0)
        body += be32(4, key_type) + be32(5, key_length)
        if is_map:
            body += be32(6, data_type) + be32(7, data_length)
        body += be32(10, self._set_ids)
        self._add(_NEWSET, NLM_F_CREATE, table, body, name)

    def add_elements(self, table: Table, set_name: str, elements: list[Element]) -> None:
        """Fails the batch with EEXIST if one is there already."""
        self._add(
            _NEWELEM, NLM_F_CREATE | NLM_F_EXCL, table, _elements(table, set_name, elements), f"element of {set_name}"
        )

    def delete_elements(self, table: Table, set_name: str, elements: list[Element]) -> None:
        keys = [Element(element.key, b"", "") for element in elements]
        self._add(_DELELEM, 0, table, _elements(table, set_name, keys), f"element of {set_name}")

    def commit(self, netlink: Netlink) -> None:
        """Raises NetlinkError, an OSError, which names what was refused; then nothing was changed."""
        if not self._messages:
            return
        framed = [
            (_BATCH_BEGIN, 0, struct.pack(">BBH", 0, 0, 10)),
            *self._messages,
            (_BATCH_END, 0, struct.pack(">BBH", 0, 0, 10)),
        ]
        failed = netlink.batch(framed)
        if failed is not None:
            index, error = failed
            what = self._what[index - 1] if 0 < index <= len(self._what) else "nftables transaction"
            raise NetlinkError(error.errno or errno.EIO, "", what)

    def _add(self, kind: int, flags: int, table: Table, body: bytes, what: str) -> None:
        self._messages.append((_SUBSYSTEM | kind, flags, struct.pack(">BBH", table.family, 0, 0) + body))
        self._what.append(what)


_lock = threading.Lock()
_socket: Netlink | None = None


@contextlib.contextmanager
def connect() -> Iterator[Netlink]:
    """The process' socket for `Batch.commit` and the listings below, for one thread at a time.

    It belongs to the network namespace in which it was first used. It is never closed: a close waits until every
    processor has let go of the rules that were deleted last, 5 to 30 ms that nobody has to wait for.
    """
    global _socket
    with _lock:
        if _socket is None:
            _socket = Netlink(NETLINK_NETFILTER)
        yield _socket


def rules(netlink: Netlink, table: Table, chain: str, *, containing: bytes = b"") -> list[Rule]:
    """The rules of a chain in their order; none if there is no such chain or table.

    `containing` leaves out, before they are taken apart, those without these bytes (of a comment).
    """
    body = struct.pack(">BBH", table.family, 0, 0) + text(1, table.name) + text(2, chain)
    found = []
    for answer in _dump(netlink, _GETRULE, body, chain):
        if containing not in answer:
            continue
        fields = attribute_table(answer, 4)
        if to_text(fields.get(1, b"")) == table.name and to_text(fields.get(2, b"")) == chain:
            found.append(Rule(int.from_bytes(fields[3], "big"), _read_comment(fields.get(7, b""))))
    return found


def elements(netlink: Netlink, table: Table, set_name: str) -> list[Element]:
    """The elements of a set or map; none if there is no such set or table."""
    body = struct.pack(">BBH", table.family, 0, 0) + text(1, table.name) + text(2, set_name)
    found = []
    for answer in _dump(netlink, _GETELEM, body, set_name):
        for _, element in attributes(attribute_table(answer, 4).get(3, b"")):
            fields = attribute_table(element)
            key = attribute_table(fields.get(1, b"")).get(1, b"")
            data = attribute_table(fields.get(2, b"")).get(1, b"")
            found.append(Element(key, data, _read_comment(fields.get(6, b""))))
    return found


def _dump(netlink: Netlink, kind: int, body: bytes, what: str) -> list[bytes]:
    try:
        return netlink.dump(_SUBSYSTEM | kind, body, what)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return []
        raise


def _elements(table: Table, set_name: str, elements: list[Element]) -> bytes:
    listed = b"".join(
        nested(
            _LIST_ELEM,
            _value(1, element.key),
            _value(2, element.data) if element.data else b"",
            _comment(6, element.comment),
        )
        for element in elements
    )
    return text(1, table.name) + text(2, set_name) + nested(3, listed)


def _comment(kind: int, comment: str) -> bytes:
    """User data with one entry of type 0, which nft(8) takes for the comment."""
    if not comment:
        return b""
    data = comment.encode()[: MAX_COMMENT - 1] + b"\0"
    return attribute(kind, struct.pack("BB", 0, len(data)) + data)


def _read_comment(data: bytes) -> str:
    offset = 0
    while offset + 2 <= len(data):
        kind, length = data[offset], data[offset + 1]
        if kind == 0:
            return data[offset + 2 : offset + 2 + length].rstrip(b"\0").decode("utf-8", "replace")
        offset += 2 + length
    return ""
