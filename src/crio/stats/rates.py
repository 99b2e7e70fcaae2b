"""The rate of a counter, made of two readings of it."""

from __future__ import annotations

_SHORTEST = 100_000_000
"""Nanoseconds between two readings below which the older rate says more than a new one would."""


class Rate:
    """Keeps the last reading of one counter."""

    __slots__ = ("_rate", "_then", "_used")

    def __init__(self) -> None:
        self._then = self._used = -1
        self._rate: int | None = None

    def nano_cores(self, usage: int, now: int) -> int | None:
        """Billionths of a core used since the reading before; None at the first one. Times and usage in ns."""
        if self._then < 0 or usage < self._used:
            self._rate = None
        elif now - self._then < _SHORTEST:
            return self._rate
        else:
            self._rate = (usage - self._used) * 1_000_000_000 // (now - self._then)
        self._then, self._used = now, usage
        return self._rate
