"""CPU rates from two readings."""

from __future__ import annotations

from crio.stats.rates import Rate

SECOND = 1_000_000_000


def test_the_first_reading_has_no_rate() -> None:
    rate = Rate()
    assert rate.nano_cores(5 * SECOND, 0) is None
    assert rate.nano_cores(6 * SECOND, 2 * SECOND) == SECOND // 2


def test_readings_close_together_keep_the_rate() -> None:
    rate = Rate()
    rate.nano_cores(0, 0)
    assert rate.nano_cores(1, 1000) is None
    assert rate.nano_cores(SECOND, SECOND) == SECOND
    assert rate.nano_cores(SECOND + 5, SECOND + 1000) == SECOND


def test_a_counter_that_went_back_begins_anew() -> None:
    rate = Rate()
    rate.nano_cores(10 * SECOND, 0)
    assert rate.nano_cores(1, SECOND) is None
    assert rate.nano_cores(SECOND + 1, 2 * SECOND) == SECOND
