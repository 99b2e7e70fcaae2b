"""D-Bus messages: what is written can be read, known bytes, and everything malformed is told."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.wire.dbus import (
    CALL,
    ERROR,
    MAX_MESSAGE,
    RETURN,
    SIGNAL,
    DbusFormatError,
    Message,
    MessageReader,
    Variant,
    encode,
    encode_values,
    split_signature,
)

TEXT = st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
BASIC: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 255),
    "b": st.booleans(),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
    "s": TEXT,
    "o": TEXT,
}


def _extended(inner: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    array = inner.map(lambda one: (f"a{one[0]}", [one[1], one[1]]))
    structure = st.tuples(inner, inner).map(lambda two: (f"({two[0][0]}{two[1][0]})", (two[0][1], two[1][1])))
    variant = inner.map(lambda one: ("v", Variant(*one)))
    mapping = st.tuples(TEXT, inner).map(lambda two: (f"a{{s{two[1][0]}}}", {two[0]: two[1][1]}))
    return array | structure | variant | mapping


BASICS = st.sampled_from(sorted(BASIC)).flatmap(lambda kind: BASIC[kind].map(lambda value: (kind, value)))
VALUES = st.recursive(BASICS, _extended, max_leaves=8)


def _one(data: bytes) -> Message:
    (message,) = MessageReader().feed(data)
    return message


@given(st.lists(VALUES, max_size=4))
def test_what_is_written_is_read(values: list[tuple[str, Any]]) -> None:
    signature = "".join(kind for kind, _ in values)
    sent = Message(SIGNAL, 7, "/a", "b.c", "D", signature=signature)
    message = _one(encode(sent, [value for _, value in values]))
    assert (message.kind, message.serial, message.path, message.interface, message.member) == (
        (SIGNAL, 7, "/a", "b.c", "D")
    )
    assert message.arguments() == tuple(value for _, value in values)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_wait_for_more(data: bytes) -> None:
    try:
        for message in MessageReader().feed(data):
            message.arguments()
    except DbusFormatError:
        pass


@given(st.data())
def test_a_damaged_message_is_refused_or_read(data: st.DataObject) -> None:
    whole = bytearray(encode(Message(SIGNAL, 1, "/a", "b.c", "D", signature="sa{sv}"), ["x", {"k": Variant("u", 1)}]))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        for message in MessageReader().feed(bytes(whole)):
            message.arguments()
    except DbusFormatError:
        pass


def test_known_bytes() -> None:
    """A Hello call as busctl sends it."""
    hello = Message(
        CALL, 1, "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", destination="org.freedesktop.DBus"
    )
    data = encode(hello)
    assert data[:16] == b"l\1\0\1" + struct.pack("<III", 0, 1, len(data.rstrip(b"\0")) + 1 - 16)
    assert len(data) % 8 == 0
    assert data[16:44] == b"\1\1o\0\x15\0\0\0/org/freedesktop/DBus\0"[:28]


def test_big_endian() -> None:
    fields = b"\5\1u\0" + struct.pack(">I", 9) + b"\10\1g\0\1u\0"
    data = b"B\2\0\1" + struct.pack(">III", 4, 3, len(fields)) + fields
    data += bytes(-len(data) % 8) + struct.pack(">I", 77)
    message = _one(data)
    assert (message.kind, message.reply_serial, message.arguments()) == (RETURN, 9, (77,))


def test_messages_in_pieces() -> None:
    first = encode(Message(RETURN, 1, reply_serial=5, signature="s"), ["one"])
    second = encode(Message(ERROR, 2, reply_serial=6, error_name="a.b", signature="s"), ["two"])
    reader = MessageReader()
    found = [message for byte in first + second for message in reader.feed(bytes([byte]))]
    assert [message.arguments() for message in found] == [("one",), ("two",)]
    assert found[1].error_name == "a.b"


def test_a_message_beyond_the_limit() -> None:
    head = b"l\1\0\1" + struct.pack("<III", MAX_MESSAGE, 1, 8)
    with pytest.raises(DbusFormatError, match="longer than"):
        MessageReader().feed(head)


@pytest.mark.parametrize("signature", ["a", "(", "(s", "{sv", "z", "a" * 40 + "s", "s" * 256, ")"])
def test_bad_signatures(signature: str) -> None:
    with pytest.raises(DbusFormatError):
        split_signature(signature)


def test_split() -> None:
    assert split_signature("ssa(sv)a(sa(sv))") == ["s", "s", "a(sv)", "a(sa(sv))"]


def test_values_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        encode_values("ss", ["one"])


def test_a_variant_of_two_types() -> None:
    message = Message(SIGNAL, 1, signature="v", body=b"\2ss\0")
    with pytest.raises(DbusFormatError, match="variant"):
        message.arguments()


def test_an_array_that_never_ends() -> None:
    message = Message(SIGNAL, 1, signature="a()", body=struct.pack("<II", 8, 0) + bytes(8))
    with pytest.raises(DbusFormatError):
        message.arguments()
