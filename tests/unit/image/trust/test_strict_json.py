"""JSON that cannot be read in two ways."""

from __future__ import annotations

import msgspec
import pytest

from crio.image.trust import strict_json


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    a: int
    b: bytes = b""


def test_it_reads() -> None:
    assert strict_json.decode(b'{"a": 1, "b": "aGk="}', Thing) == Thing(1, b"hi")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "'a' comes twice"),
        ('{"a": 1, "c": 2}', "unknown field `c`"),
        ('{"A": 1}', "unknown field `A`"),
        ("{}", "missing required field"),
        ('{"a": "1"}', "Expected `int`"),
        ('{"a": 1, "b": "?"}', "base64"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1} x', "Extra data"),
        ("{", "Expecting"),
        ("\xff", "codec"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_what_it_refuses(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        strict_json.decode(text.encode("latin-1"), Thing)
