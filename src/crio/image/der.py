"""DER (ITU-T X.690) as far as certificates and CMS messages need it: a reader with checked bounds. Pure."""

from __future__ import annotations

from typing import NamedTuple

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, UTF8_STRING, SEQUENCE, SET = (
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x0C,
    0x30,
    0x31,
)
_MAX_LENGTH_BYTES = 4


class Element(NamedTuple):
    tag: int
    content: bytes
    whole: bytes
    """With tag and length, as it stands in the input."""


def elements(data: bytes, limit: int = 1000) -> list[Element]:
    """All elements that lie one after the other in `data`. Raises ValueError if it is not made of whole ones."""
    found: list[Element] = []
    position = 0
    while position < len(data):
        element = _at(data, position)
        found.append(element)
        position += len(element.whole)
        if len(found) > limit:
            raise ValueError(f"there are more than {limit} DER elements")
    return found


def only(data: bytes, tag: int) -> bytes:
    """The content of the single element in `data`, which must have this tag. Raises ValueError."""
    (element,) = _exactly(elements(data), 1)
    return expect(element, tag)


def expect(element: Element, tag: int) -> bytes:
    """The element's content, if it has this tag. Raises ValueError."""
    if element.tag != tag:
        raise ValueError(f"a DER element has the tag {element.tag:#x} and not {tag:#x}")
    return element.content


def oid(element: Element) -> str:
    """An object identifier as dotted numbers. Raises ValueError."""
    content = expect(element, OID)
    numbers: list[int] = []
    value = 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if value >> 64:
            raise ValueError("a number of a DER object identifier is too large")
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    if not numbers or content[-1] & 0x80:
        raise ValueError("a DER object identifier is cut off")
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _exactly(found: list[Element], number: int) -> list[Element]:
    if len(found) != number:
        raise ValueError(f"there are {len(found)} DER elements and not {number}")
    return found


def _at(data: bytes, start: int) -> Element:
    if start + 2 > len(data):
        raise ValueError("a DER element is cut off")
    tag, length = data[start], data[start + 1]
    if tag & 0x1F == 0x1F:
        raise ValueError("a DER element has a long tag")
    begin = start + 2
    if length & 0x80:
        width = length & 0x7F
        if not 0 < width <= _MAX_LENGTH_BYTES or begin + width > len(data):
            raise ValueError("a DER element has a length that cannot be used")
        length = int.from_bytes(data[begin : begin + width], "big")
        begin += width
    end = begin + length
    if end > len(data):
        raise ValueError("a DER element is cut off")
    return Element(tag, data[begin:end], data[start:end])
