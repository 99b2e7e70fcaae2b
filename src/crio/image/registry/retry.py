"""How often and when a failed request is made again."""

from __future__ import annotations

import email.utils
import random
import time

import msgspec

ATTEMPTS = 6
LONGEST_WAIT = 60.0
"""Seconds. A registry that asks for more patience than this gets none: the kubelet has its own back-off."""


class Backoff(msgspec.Struct):
    """Waiting times of one operation: doubling, with a spread so that many nodes do not come at once."""

    attempts: int = ATTEMPTS
    first: float = 0.2
    longest: float = 8.0
    failures: int = 0

    def next_wait(self, asked_for: float | None = None) -> float | None:
        """Seconds until the next attempt; None if there is to be none. `asked_for` is the server's own wish."""
        self.failures += 1
        if self.failures >= self.attempts or (asked_for is not None and asked_for > LONGEST_WAIT):
            return None
        wait: float = min(self.first * 2 ** (self.failures - 1), self.longest)
        return max(wait * random.uniform(0.5, 1.0), asked_for or 0.0)

    def progressed(self) -> None:
        """Something was achieved: count failures anew."""
        self.failures = 0


def retry_after(value: str, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3); None if it is absent or unreadable."""
    text = value.strip()
    if text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        moment: float = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    reference = time.time() if now is None else now
    return max(moment - reference, 0.0)
