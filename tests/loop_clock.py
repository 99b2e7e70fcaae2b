"""Time that passes at once, for tests of what happens when it is over."""

from __future__ import annotations

import asyncio

import pytest


def pass_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From now on the running loop's clock is `seconds` ahead: whatever it would have done until then is due at once.

    So a deadline can be long enough for the busiest machine, and a test needs not to wait for it.
    """
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + seconds)
