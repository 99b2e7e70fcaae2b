"""The log of clients that were refused: each of them as long as they are few, then how many."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

MOST = 20
"""Lines in one period."""
PERIOD = 60.0
"""Seconds."""


class Refusals:
    """Whoever may connect may be refused as often as they like; the log must not grow with it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begin = float("-inf")
        self._count = 0

    def tell(self, reason: object) -> None:
        """Log a refusal, or count it."""
        now = self._clock()
        if now - self._begin >= PERIOD:
            self._tell_rest()
            self._begin, self._count = now, 0
        self._count += 1
        if self._count <= MOST:
            log.warning("stream refused: %s", reason)

    def _tell_rest(self) -> None:
        if self._count > MOST:
            log.warning("streams refused: %d more within %d s", self._count - MOST, self._clock() - self._begin)
