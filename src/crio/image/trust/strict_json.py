"""JSON by which trust is decided: a key that comes twice, or one that nobody knows, is an error and not ignored.

Two readers that see different things in one document are how checks are got round; and a misspelt key of a policy must
not mean that the policy asks for less. Pure.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

import msgspec

T = TypeVar("T")


def decode(data: bytes, kind: type[T]) -> T:
    """`data` as a `kind`, whose structs forbid unknown fields themselves. Raises ValueError, saying what is wrong."""
    try:
        plain = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
        return msgspec.convert(plain, kind)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:100]!r} comes twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
