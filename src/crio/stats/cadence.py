"""When the next look at the figures is likely, so that they can be read shortly before it."""

from __future__ import annotations

from collections import deque

SHORTEST, LONGEST = 1.0, 130.0
"""Seconds between two looks of somebody who is expected again: eviction and scrapes come each 10 to 60 seconds."""
USUAL = 10.0
"""What is expected of whom nothing is known: the kubelet's interval."""
_LOOKS = 32
_NEAR = 0.5
"""Seconds by which an expectation that came true may have been wrong."""
_MOST_CREDIT = 4


class Cadence:
    """Of all who look at one kind of figures, each at an interval of his own. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self._looks: deque[float] = deque(maxlen=_LOOKS)
        self._expected: deque[float] = deque(maxlen=_LOOKS)
        self._interval = 0.0
        """The last that was seen twice in a row; 0 for none."""
        self._credit = 2
        """Given by expectations that came true, and taken by looks that nobody had expected."""

    def looked(self, now: float) -> tuple[float | None, float]:
        """A look at `now`: when who looked is likely to look again, and the interval that he keeps.

        None and 0: not known. None, where too few looks have come as they were expected.
        """
        if self._looks:
            came = any(abs(now - expected) <= _NEAR for expected in self._expected)
            self._credit = min(self._credit + 1, _MOST_CREDIT) if came else max(self._credit - 1, 0)
        steady = interval = self._repeated(now)
        if steady:
            self._interval = steady
        elif self._interval:
            interval = self._interval
        else:
            first = now - self._looks[-1] if self._looks else 0.0
            interval = first if SHORTEST <= first <= LONGEST else USUAL
        self._looks.append(now)
        self._expected.append(now + interval)
        return (now + interval if self._credit else None), steady

    def _repeated(self, now: float) -> float:
        """The shortest interval after which somebody looks now for the third time, as it seems; 0 if there is none."""
        for look in reversed(self._looks):
            interval = now - look
            if interval > LONGEST:
                break
            tolerance = min(interval / 8, 0.4)
            if interval >= SHORTEST and any(abs(look - interval - other) <= tolerance for other in self._looks):
                return interval
        return 0.0
