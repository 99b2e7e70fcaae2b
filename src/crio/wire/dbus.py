"""D-Bus messages without I/O (D-Bus specification 0.43: type system, marshalling, message format).

Enough to call methods and to read answers and signals: all basic types, arrays, structures, dictionaries and variants;
no file descriptors. Values are Python's own: a structure is a tuple, a dictionary a dict, a variant a `Variant`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4

MAX_MESSAGE = 1 << 20
"""Bytes of a message that are accepted; the specification allows 128 MiB."""
_MAX_DEPTH = 32
_MAX_SIGNATURE = 255

_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SENDER, _SIGNATURE = range(1, 9)
_FIELDS = {
    _PATH: ("path", "o"),
    _INTERFACE: ("interface", "s"),
    _MEMBER: ("member", "s"),
    _ERROR_NAME: ("error_name", "s"),
    _REPLY_SERIAL: ("reply_serial", "u"),
    _DESTINATION: ("destination", "s"),
    _SENDER: ("sender", "s"),
    _SIGNATURE: ("signature", "g"),
}
_FIXED = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "b": "I"}
_ALIGN = dict.fromkeys("ygv", 1) | dict.fromkeys("nq", 2) | dict.fromkeys("biusoa", 4) | dict.fromkeys("xtd({", 8)


class DbusFormatError(ValueError):
    """The peer sent what is no D-Bus message, or one beyond the limits."""


class Variant(NamedTuple):
    """A value that carries its type, such as ("t", 5)."""

    signature: str
    value: Any


class Message(msgspec.Struct):
    """One message. `body` is read by `arguments`, so that one nobody waits for costs nothing."""

    kind: int
    serial: int = 0
    path: str = ""
    interface: str = ""
    member: str = ""
    error_name: str = ""
    reply_serial: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""
    body: bytes = b""
    order: str = "<"

    def arguments(self) -> tuple[Any, ...]:
        """The values of the body. Raises DbusFormatError."""
        return _Reader(self.body, self.order).values(self.signature)


def encode(message: Message, arguments: Sequence[Any] = ()) -> bytes:
    """A message with these values as its body; `message.body` is not looked at. Raises ValueError if they don't fit."""
    fields = [
        (code, Variant(kind, value))
        for code, (name, kind) in _FIELDS.items()
        if (value := getattr(message, name)) or (name == "reply_serial" and message.kind in (RETURN, ERROR))
    ]
    body = encode_values(message.signature, arguments)
    head = _Writer()
    head.values("yyyyuua(yv)", (ord("l"), message.kind, 0, 1, len(body), message.serial, fields))
    head.align(8)
    return bytes(head.data) + body


def encode_values(signature: str, values: Sequence[Any]) -> bytes:
    """Values as a message's body. Raises ValueError if they do not fit the signature."""
    writer = _Writer()
    writer.values(signature, values)
    return bytes(writer.data)


class MessageReader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now. Raises DbusFormatError."""
        self._data += data
        messages = []
        while len(self._data) >= 16:
            order = {ord("l"): "<", ord("B"): ">"}.get(self._data[0])
            if order is None or self._data[3] != 1:
                raise DbusFormatError("this is no D-Bus message")
            body_size, fields_size = struct.unpack_from(f"{order}I4xI", self._data, 4)
            start = 16 + fields_size + -fields_size % 8
            if start + body_size > MAX_MESSAGE:
                raise DbusFormatError(f"a message of {start + body_size} bytes is longer than {MAX_MESSAGE}")
            if len(self._data) < start + body_size:
                break
            messages.append(_decode(bytes(self._data[: start + body_size]), order, start))
            del self._data[: start + body_size]
        return messages


def _decode(data: bytes, order: str, start: int) -> Message:
    _, kind, _, _, _, serial, pairs = _Reader(data[:start], order).values("yyyyuua(yv)")
    message = Message(kind, serial, body=data[start:], order=order)
    for code, variant in pairs:
        name = _FIELDS.get(code)
        if name is None:
            continue
        if variant.signature != name[1]:
            raise DbusFormatError(f"header field {code} has the type {variant.signature!r}")
        setattr(message, name[0], variant.value)
    return message


def split_signature(signature: str) -> list[str]:
    """The complete types that a signature is made of. Raises DbusFormatError."""
    if len(signature) > _MAX_SIGNATURE:
        raise DbusFormatError("a signature is too long")
    types = []
    position = 0
    while position < len(signature):
        end = _end_of_type(signature, position, 0)
        types.append(signature[position:end])
        position = end
    return types


def _end_of_type(signature: str, position: int, depth: int) -> int:
    kind = signature[position : position + 1]
    if depth > _MAX_DEPTH or kind == "" or kind not in "ybnqiuxtdsogvha({":
        raise DbusFormatError(f"cannot understand the signature {signature!r}")
    if kind == "a":
        return _end_of_type(signature, position + 1, depth + 1)
    if kind in "({":
        end = position + 1
        close = ")" if kind == "(" else "}"
        while signature[end : end + 1] != close:
            end = _end_of_type(signature, end, depth + 1)
        return end + 1
    return position + 1


class _Writer:
    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def values(self, signature: str, values: Sequence[Any]) -> None:
        types = split_signature(signature)
        if len(types) != len(values):
            raise ValueError(f"{len(values)} values do not fit the signature {signature!r}")
        for kind, value in zip(types, values, strict=True):
            self._value(kind, value)

    def _value(self, kind: str, value: Any) -> None:
        first = kind[0]
        if first in _FIXED:
            self.align(struct.calcsize(_FIXED[first]))
            self.data += struct.pack("<" + _FIXED[first], value)
        elif first in "so":
            data = value.encode()
            self._value("u", len(data))
            self.data += data + b"\0"
        elif first == "g":
            data = value.encode("ascii")
            self.data += bytes([len(data)]) + data + b"\0"
        elif first == "v":
            self._value("g", value.signature)
            self.values(value.signature, (value.value,))
        elif first == "a":
            self._array(kind[1:], value)
        elif first in "({":
            self.align(8)
            self.values(kind[1:-1], value)
        else:
            raise ValueError(f"values of type {kind!r} cannot be sent")

    def _array(self, kind: str, value: Any) -> None:
        self.align(4)
        size_at = len(self.data)
        self.data += bytes(4)
        self.align(_ALIGN[kind[0]])
        start = len(self.data)
        for item in value.items() if isinstance(value, dict) else value:
            self._value(kind, item)
        struct.pack_into("<I", self.data, size_at, len(self.data) - start)


class _Reader:
    def __init__(self, data: bytes, order: str) -> None:
        self._data = data
        self._order = order
        self._at = 0

    def values(self, signature: str, depth: int = 0) -> tuple[Any, ...]:
        return tuple(self._value(kind, depth) for kind in split_signature(signature))

    def _align(self, size: int) -> None:
        self._at += -self._at % size

    def _value(self, kind: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise DbusFormatError("values are nested too deep")
        first = kind[0]
        if first in _FIXED:
            value = self._fixed(_FIXED[first])
            return bool(value) if first == "b" else value
        if first in "so":
            return self._text(self._fixed("I"))
        if first == "g":
            return self._text(self._fixed("B"))
        if first == "v":
            signature = self._text(self._fixed("B"))
            if len(split_signature(signature)) != 1:
                raise DbusFormatError(f"a variant has the signature {signature!r}")
            return Variant(signature, self._value(signature, depth + 1))
        if first == "a":
            return self._array(kind[1:], depth + 1)
        if first in "({":
            self._align(8)
            return self.values(kind[1:-1], depth + 1)
        raise DbusFormatError(f"values of type {kind!r} cannot be received")

    def _fixed(self, code: str) -> Any:
        size = struct.calcsize(code)
        self._align(size)
        self._at += size
        try:
            return struct.unpack_from(self._order + code, self._data, self._at - size)[0]
        except struct.error:
            raise DbusFormatError("a message ends inside a value") from None

    def _text(self, size: int) -> str:
        data = self._data[self._at : self._at + size]
        self._at += size + 1
        if self._at > len(self._data) or self._data[self._at - 1] != 0:
            raise DbusFormatError("a text does not end where it should")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise DbusFormatError("a text is not UTF-8") from None

    def _array(self, kind: str, depth: int) -> Any:
        size = self._fixed("I")
        self._align(_ALIGN.get(kind[0], 1))
        end = self._at + size
        if end > len(self._data):
            raise DbusFormatError("a message ends inside an array")
        items = []
        while self._at < end:
            before = self._at
            items.append(self._value(kind, depth))
            if self._at == before:
                raise DbusFormatError("an array has items without content")
        if self._at != end:
            raise DbusFormatError("an array ends inside an item")
        return dict(items) if kind[0] == "{" else items
