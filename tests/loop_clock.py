"""Time that passes at once, for tests of what happens when it is over."""

from __future__ import annotations

import time

import pytest


def pass_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From now on the monotonic clock, and with it every event loop's, is `seconds` ahead: what is due by then is due.

    So a deadline can be long enough for the busiest machine, and a test needs not to wait for it.
    """
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + seconds)
