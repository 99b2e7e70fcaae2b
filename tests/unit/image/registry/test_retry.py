from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.image.registry.retry import Backoff, retry_after


def test_waits_double_and_end() -> None:
    backoff = Backoff(attempts=4, first=1.0, longest=3.0)
    waits = [backoff.next_wait() for _ in range(4)]
    assert waits[3] is None
    for wait, most in zip(waits, (1.0, 2.0, 3.0), strict=False):
        assert wait is not None
        assert most / 2 <= wait <= most


def test_progress_counts_anew() -> None:
    backoff = Backoff(attempts=2)
    assert backoff.next_wait() is not None
    backoff.progressed()
    assert backoff.next_wait() is not None
    assert backoff.next_wait() is None


def test_the_servers_wish() -> None:
    assert Backoff().next_wait(30.0) == 30.0
    assert Backoff().next_wait(61.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5", 5.0), (" 0 ", 0.0), ("", None), ("-1", None), ("soon", None), ("9" * 30, None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 60.0), ("Wed, 21 Oct 2015 07:20:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value, now=1445412420.0) == seconds


@given(st.text(max_size=60))
def test_any_text(value: str) -> None:
    found = retry_after(value)
    assert found is None or found >= 0
