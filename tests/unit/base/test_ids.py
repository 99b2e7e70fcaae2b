"""Ids, digests and prefixes."""

from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument, NotFound
from crio.base.ids import is_full_id, new_id, parse_digest, resolve_prefix


def test_new_ids_are_full_and_differ() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_full_id(full) and not full[:12].isdecimal() for full in ids)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 63,
        "md5:" + "a" * 32,
        "sha256:" + "A" * 64,
        "sha256:../../" + "a" * 58,
        "sha256:" + "a" * 64 + "\n",
    ],
)
def test_digests_from_outside_are_checked(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_digest(text)


def test_good_digests() -> None:
    assert parse_digest("sha256:" + "0f" * 32) == "sha256:" + "0f" * 32
    assert parse_digest("sha512:" + "0f" * 64) == "sha512:" + "0f" * 64


def test_prefixes() -> None:
    ids = ["ab12", "ab", "cd34"]
    assert resolve_prefix("pod", "c", ids) == "cd34"
    assert resolve_prefix("pod", "ab", ids) == "ab"
    with pytest.raises(InvalidArgument, match="2 ids start with it"):
        resolve_prefix("pod", "a", ids)
    with pytest.raises(NotFound, match="cannot find pod 'x'"):
        resolve_prefix("pod", "x", ids)
    with pytest.raises(InvalidArgument, match="empty"):
        resolve_prefix("pod", "", ids)
