"""The packets between daemon, zygote and monitor.

A packet is one SOCK_SEQPACKET message: `<protocol> <verb>` and then `name=value` fields, each ended by a NUL byte; a
list is a name that comes several times. Unknown verbs are answered, unknown fields ignored, absent ones have defaults:
so a daemon can talk to monitors that an older or newer one has made, as long as the protocol number is known. Open
files travel beside a packet (SCM_RIGHTS). Not JSON: its parser would be memory in each monitor.
"""

from __future__ import annotations

import os
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Value = str | int | Iterable[str]

PROTOCOL = 1
MAX_PACKET = 64 * 1024
MAX_FDS = 5
_FD_SIZE = 4


class PacketError(Exception):
    """The other side sent what no version of this protocol knows."""


class Packet:
    """A decoded packet. `fds` belong to whoever received it."""

    __slots__ = ("_fields", "fds", "protocol", "verb")

    def __init__(self, protocol: int, verb: str, fields: dict[str, list[str]], fds: list[int]) -> None:
        self.protocol = protocol
        self.verb = verb
        self._fields = fields
        self.fds = fds

    def text(self, name: str, default: str = "") -> str:
        values = self._fields.get(name)
        return values[-1] if values else default

    def number(self, name: str, default: int = 0) -> int:
        """Raises PacketError if the field is not a decimal number."""
        text = self.text(name)
        if not text:
            return default
        try:
            return int(text)
        except ValueError:
            raise PacketError(f"field {name} is not a number: {text[:40]!r}") from None

    def flag(self, name: str) -> bool:
        return self.text(name) == "1"

    def many(self, name: str) -> list[str]:
        return self._fields.get(name, [])

    def close(self) -> None:
        """Close the files that came with the packet and that nobody took."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []


def encode(verb: str, fields: Mapping[str, Value]) -> bytes:
    """One packet. Raises PacketError if a value has a NUL byte or the whole is longer than MAX_PACKET."""
    parts = [f"{PROTOCOL} {verb}"]
    for name, value in fields.items():
        if isinstance(value, str):
            parts.append(f"{name}={value}")
        elif isinstance(value, int):
            parts.append(f"{name}={int(value)}")
        else:
            parts += [f"{name}={item}" for item in value]
    if any("\0" in part for part in parts):
        raise PacketError(f"a field of {verb} has a NUL byte")
    data = "\0".join(parts).encode("utf-8", "surrogateescape")
    if len(data) > MAX_PACKET:
        raise PacketError(f"packet {verb} of {len(data)} bytes is longer than {MAX_PACKET}")
    return data


def decode(data: bytes, fds: list[int] | None = None) -> Packet:
    """The packet in `data`. Raises PacketError if it is malformed or of an unknown protocol."""
    head, *rest = data.decode("utf-8", "surrogateescape").split("\0")
    number, _, verb = head.partition(" ")
    if not number.isdecimal() or len(number) > 4 or not verb or len(data) > MAX_PACKET:
        raise PacketError(f"malformed packet {data[:40]!r}")
    fields: dict[str, list[str]] = {}
    for item in rest:
        name, equals, value = item.partition("=")
        if not equals:
            raise PacketError(f"malformed field {item[:40]!r} of {verb}")
        fields.setdefault(name, []).append(value)
    return Packet(int(number), verb, fields, fds or [])


def send(sock: socket.socket, verb: str, fields: Mapping[str, Value], fds: Sequence[int] = ()) -> None:
    """Send one packet. OSError as sendmsg(2)."""
    send_encoded(sock, encode(verb, fields), fds)


def send_encoded(sock: socket.socket, packet: bytes, fds: Sequence[int] = ()) -> None:
    """As `send`, for what `encode` gave."""
    rights = b"".join(fd.to_bytes(_FD_SIZE, sys.byteorder) for fd in fds)
    sock.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else [])


def receive(sock: socket.socket) -> Packet | None:
    """The next packet, or None when the other side has closed. OSError as recvmsg(2), PacketError."""
    received = receive_encoded(sock)
    if received is None:
        return None
    data, fds = received
    try:
        return decode(data, fds)
    except PacketError:
        for fd in fds:
            os.close(fd)
        raise


def receive_encoded(sock: socket.socket) -> tuple[bytes, list[int]] | None:
    """As `receive`, without a look at the packet."""
    space = socket.CMSG_SPACE(MAX_FDS * _FD_SIZE)
    data, control, flags, _ = sock.recvmsg(MAX_PACKET + 1, space, socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            usable = len(payload) - len(payload) % _FD_SIZE
            fds += [int.from_bytes(payload[i : i + _FD_SIZE], sys.byteorder) for i in range(0, usable, _FD_SIZE)]
    if data and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        return data, fds
    for fd in fds:
        os.close(fd)
    if data:
        raise PacketError("packet is longer, or has more files, than the protocol allows")
    return None
