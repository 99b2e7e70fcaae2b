"""CPU rates, made of two readings of a counter."""

from __future__ import annotations

_SHORTEST = 100_000_000
"""Nanoseconds between two readings below which the older rate says more than a new one would."""


class Rates:
    """Keeps the last reading of each counter."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int, int]] = {}

    def nano_cores(self, key: str, usage: int, now: int) -> int | None:
        """Billionths of a core used since the reading before; None at the first one. Times and usage in ns."""
        last = self._last.get(key)
        if last is None or usage < last[1]:
            self._last[key] = (now, usage, -1)
            return None
        then, used, rate = last
        if now - then < _SHORTEST:
            return rate if rate >= 0 else None
        rate = (usage - used) * 1_000_000_000 // (now - then)
        self._last[key] = (now, usage, rate)
        return rate

    def keep_only(self, keys: set[str]) -> None:
        """Forget counters of what is gone."""
        for key in self._last.keys() - keys:
            del self._last[key]
