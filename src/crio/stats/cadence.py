"""When the next look at the figures is likely, so that they can be read shortly before it."""

from __future__ import annotations

SHORTEST, LONGEST = 1.5, 90.0
"""Seconds between two looks for which it is worth while: below, the figures of the look before are young enough."""


class Cadence:
    """Of somebody who looks at intervals; times are in seconds of any steady clock."""

    def __init__(self, lead: float) -> None:
        """`lead` is how long before the look, in seconds, the figures are to be read."""
        self._lead = lead
        self._last: float | None = None

    def looked(self, now: float) -> float | None:
        """A look at `now`: when to read ahead for the next, as far as the last interval tells; None for not at all."""
        last, self._last = self._last, now
        if last is None or not SHORTEST <= now - last <= LONGEST:
            return None
        return now + (now - last) - self._lead
