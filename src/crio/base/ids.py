"""Identifiers: their types, how new ones are made, and how people may abbreviate them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NewType

from crio.base.errors import InvalidArgument, NotFound
from crio.base.regex import regex

ContainerId = NewType("ContainerId", str)
SandboxId = NewType("SandboxId", str)
Digest = NewType("Digest", str)
"""`algorithm:hex`, always the result of `parse_digest`."""

_FULL = regex(r"[0-9a-f]{64}")
_DIGEST = regex(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def new_id() -> str:
    """A random 64-digit lower-case hex id whose first 12 characters are not all decimal.

    The short form of an id is its first 12 characters; one that looks like a number confuses tools which accept both.
    """
    while True:
        candidate = os.urandom(32).hex()
        if not candidate[:12].isdecimal():
            return candidate


def is_full_id(text: str) -> bool:
    return _FULL.fullmatch(text) is not None


def parse_digest(text: str) -> Digest:
    """`text` as a Digest. Must be called before a digest from outside is used in a path or URL (CVE-2024-3727)."""
    if not _DIGEST.fullmatch(text):
        raise InvalidArgument(f"cannot use digest {text[:100]!r}: it is not sha256:<64 hex> or sha512:<128 hex>")
    return Digest(text)


def resolve_prefix(kind: str, prefix: str, ids: Iterable[str]) -> str:
    """The one id that starts with `prefix`. NotFound if none does, InvalidArgument if several do or it is empty."""
    if not prefix:
        raise InvalidArgument(f"cannot look up {kind}: the id is empty")
    matches = [full for full in ids if full.startswith(prefix)]
    if prefix in matches:
        return prefix
    if not matches:
        raise NotFound(f"cannot find {kind} {prefix[:80]!r}: no such id")
    if len(matches) > 1:
        raise InvalidArgument(f"cannot tell which {kind} is meant by {prefix[:80]!r}: {len(matches)} ids start with it")
    return matches[0]
