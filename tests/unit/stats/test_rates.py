"""CPU rates from two readings."""

from __future__ import annotations

from crio.stats.rates import Rates

SECOND = 1_000_000_000


def test_the_first_reading_has_no_rate() -> None:
    rates = Rates()
    assert rates.nano_cores("a", 5 * SECOND, 0) is None
    assert rates.nano_cores("a", 6 * SECOND, 2 * SECOND) == SECOND // 2


def test_readings_close_together_keep_the_rate() -> None:
    rates = Rates()
    rates.nano_cores("a", 0, 0)
    assert rates.nano_cores("a", 1, 1000) is None
    assert rates.nano_cores("a", SECOND, SECOND) == SECOND
    assert rates.nano_cores("a", SECOND + 5, SECOND + 1000) == SECOND


def test_a_counter_that_went_back_begins_anew() -> None:
    rates = Rates()
    rates.nano_cores("a", 10 * SECOND, 0)
    assert rates.nano_cores("a", 1, SECOND) is None
    assert rates.nano_cores("a", SECOND + 1, 2 * SECOND) == SECOND


def test_what_is_gone_is_forgotten() -> None:
    rates = Rates()
    rates.nano_cores("a", 0, 0)
    rates.nano_cores("b", 0, 0)
    rates.keep_only({"b"})
    assert rates.nano_cores("a", SECOND, SECOND) is None
    assert rates.nano_cores("b", SECOND, SECOND) == SECOND
