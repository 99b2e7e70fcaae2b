"""When the next look is expected."""

from __future__ import annotations

import pytest

from crio.stats.cadence import LONGEST, USUAL, Cadence


def expected(cadence: Cadence, *looks: float) -> float:
    """After how long the next look is expected after these."""
    found = [cadence.looked(look)[0] for look in looks][-1]
    assert found is not None
    return found - looks[-1]


def test_of_whom_nothing_is_known_the_usual_is_expected() -> None:
    assert expected(Cadence(), 100.0) == USUAL


def test_the_second_look_tells_an_interval() -> None:
    assert expected(Cadence(), 100.0, 115.0) == pytest.approx(15.0)


@pytest.mark.parametrize("interval", [0.0, 0.5, LONGEST * 2])
def test_looks_at_once_or_much_later_tell_none(interval: float) -> None:
    assert expected(Cadence(), 100.0, 100.0 + interval) == USUAL


def test_an_interval_may_change() -> None:
    cadence = Cadence()
    assert expected(cadence, 0.0, 10.0, 20.0) == pytest.approx(10.0)
    assert expected(cadence, 50.0, 80.0, 110.0) == pytest.approx(30.0)


def test_a_pause_does_not_change_it() -> None:
    cadence = Cadence()
    assert expected(cadence, 0.0, 10.1, 20.1) == pytest.approx(10.0)
    assert expected(cadence, 77.0) == pytest.approx(10.0)


def test_two_that_look_are_expected_at_their_own_intervals() -> None:
    """One each 10 seconds, one each 15 seconds, from 3 on."""
    cadence = Cadence()
    looks = sorted([(10.0 * n, 10.0) for n in range(12)] + [(3.0 + 15.0 * n, 15.0) for n in range(8)])
    found = [(at + interval, cadence.looked(at)[0]) for at, interval in looks]
    assert all(told == pytest.approx(again) for again, told in found[10:])


def test_somebody_quick_is_expected_after_a_second() -> None:
    cadence = Cadence()
    assert expected(cadence, *(0.25 * n for n in range(40))) == pytest.approx(1.0)


def test_nobody_is_expected_who_looks_at_random() -> None:
    cadence = Cadence()
    looks = [0.0, 23.0, 30.0, 77.0, 95.0, 140.0, 143.0]
    assert [cadence.looked(look)[0] is None for look in looks][-3:] == [True] * 3
    # Until he keeps an interval.
    assert [cadence.looked(look)[0] for look in (200.0, 210.0, 220.0, 230.0)][-1] == pytest.approx(240.0)


def test_an_interval_is_known_when_it_was_kept_twice() -> None:
    cadence = Cadence()
    assert [cadence.looked(look)[1] for look in (0.0, 10.0, 20.0, 52.0, 62.0, 72.0)] == [0, 0, 10, 0, 0, 10]
