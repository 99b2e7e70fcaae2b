"""Netlink: messages and attributes (netlink(7)), and a socket that sends requests and reads their answers.

The kernel answers a request before send(2) returns, so nothing here waits. A socket belongs for good to the network
namespace in which it was made, wherever it is used later.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP_INTR = 0x10

NLMSG_ERROR = 2
NLMSG_DONE = 3

_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_NLMSGERR_ATTR_MSG = 1
_F_CAPPED, _F_ACK_TLVS = 0x100, 0x200

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE = 1 << 18
_DUMP_ATTEMPTS = 8


class NetlinkError(OSError):
    """A request that the kernel refused: errno, and its own words where it gave some."""

    def __init__(self, number: int, words: str, what: str) -> None:
        super().__init__(number, f"{os.strerror(number)}{f' ({words})' if words else ''}", what or None)


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """A string with its final zero byte."""
    return attribute(kind, os.fsencode(value) + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=B", value))


def u32(kind: int, value: int) -> bytes:
    """In the byte order of the machine, as rtnetlink has it."""
    return attribute(kind, struct.pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    """In network byte order, as netfilter has it."""
    return attribute(kind, struct.pack(">I", value))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">Q", value))


def attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data` from `offset`; stops at the first one that does not fit."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & _NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attribute_table(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes by kind; of several of one kind the last."""
    return dict(attributes(data, offset))


def to_text(data: bytes) -> str:
    """A string attribute without its final zero byte."""
    return os.fsdecode(data.rstrip(b"\0"))


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A message with its header, padded to four bytes."""
    return _HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body + b"\0" * (-len(body) % 4)


class Netlink:
    """A netlink socket, to be closed or used as a context manager. Not for use by two threads at once."""

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0
        try:
            self._socket.bind((0, 0))
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            if protocol == NETLINK_ROUTE:
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, kind: int, body: bytes, flags: int = 0, what: str = "") -> None:
        """Do one thing. `what` names its object in the error. Raises NetlinkError, an OSError."""
        for _ in self._transact(kind, body, flags | NLM_F_ACK, what):
            pass

    def get(self, kind: int, body: bytes, what: str = "") -> bytes:
        """The one object that the request names. Raises NetlinkError if there is none."""
        for answer in self._transact(kind, body, NLM_F_ACK, what):
            return answer
        raise NetlinkError(errno.ENODATA, "no answer", what)

    def dump(self, kind: int, body: bytes, what: str = "") -> list[bytes]:
        """All objects that the request matches; done again if they changed meanwhile."""
        for _ in range(_DUMP_ATTEMPTS):
            self._interrupted = False
            found = list(self._transact(kind, body, NLM_F_DUMP, what))
            if not self._interrupted:
                return found
        raise NetlinkError(errno.EAGAIN, "the objects keep changing", what)

    def batch(self, messages: list[tuple[int, int, bytes]]) -> tuple[int, NetlinkError] | None:
        """Send messages (kind, flags, body) as one; None, or the index of the first that failed and why.

        For netfilter's transactions, which do all or nothing. An index of -1 means the batch as a whole.
        """
        first = self._sequence + 1
        parts = [
            message(kind, flags | NLM_F_REQUEST, first + index, body)
            for index, (kind, flags, body) in enumerate(messages)
        ]
        self._sequence += len(messages)
        data = b"".join(parts)
        # A transaction is one datagram, which has to fit into the send buffer.
        if len(data) > 100_000:
            self._socket.setsockopt(socket.SOL_SOCKET, 32, min(2 * len(data), 1 << 26))  # SO_SNDBUFFORCE
        self._socket.send(data)
        failed: tuple[int, NetlinkError] | None = None
        while True:
            try:
                received = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return failed
            for kind, sequence, flags, body in _split(received):
                if kind == NLMSG_ERROR and failed is None and (error := _error(body, flags, "")) is not None:
                    index = sequence - first
                    failed = (index if 0 <= index < len(messages) else -1, error)

    _interrupted = False

    def _transact(self, kind: int, body: bytes, flags: int, what: str) -> Iterator[bytes]:
        self._sequence += 1
        sequence = self._sequence
        self._socket.send(message(kind, flags | NLM_F_REQUEST, sequence, body))
        while True:
            for answer, answered, answer_flags, data in _split(self._socket.recv(_RECEIVE)):
                if answered != sequence:
                    continue
                self._interrupted = self._interrupted or bool(answer_flags & NLM_F_DUMP_INTR)
                if answer == NLMSG_ERROR:
                    if (error := _error(data, answer_flags, what)) is not None:
                        raise error
                    return
                if answer == NLMSG_DONE:
                    number = -struct.unpack_from("=i", data)[0] if len(data) >= 4 else 0
                    if number > 0:
                        raise NetlinkError(number, "", what)
                    return
                yield data


def _split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of one datagram: kind, sequence number, flags, body."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < 16 or offset + length > len(data):
            return
        yield kind, sequence, flags, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _error(body: bytes, flags: int, what: str) -> NetlinkError | None:
    number = -struct.unpack_from("=i", body)[0]
    if number == 0:
        return None
    words = ""
    if flags & _F_ACK_TLVS:
        # The errno, then the header of the request, then its body unless capped, then attributes.
        start = 20
        if not flags & _F_CAPPED:
            start = 4 + ((struct.unpack_from("=I", body, 4)[0] + 3) & ~3)
        words = to_text(attribute_table(body, start).get(_NLMSGERR_ATTR_MSG, b""))[:200]
    return NetlinkError(number, words, what)
