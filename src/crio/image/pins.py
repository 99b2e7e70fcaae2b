"""Which images garbage collection must leave alone: an exact name, `prefix*`, or `*keyword*`."""

from __future__ import annotations

from collections.abc import Iterable


class Pins:
    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(pattern for pattern in patterns if pattern.strip("*"))

    def match(self, names: Iterable[str]) -> bool:
        """Whether any of the names is pinned."""
        return any(_matches(pattern, name) for name in names for pattern in self._patterns)


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("*") and pattern.endswith("*"):
        return pattern.strip("*") in name
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern
