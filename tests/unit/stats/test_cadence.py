from __future__ import annotations

import pytest

from crio.stats.cadence import LONGEST, SHORTEST, Cadence


def test_the_first_look_tells_nothing() -> None:
    assert Cadence(0.5).looked(100.0) is None


def test_the_next_look_comes_after_the_same_interval() -> None:
    cadence = Cadence(0.5)
    cadence.looked(100.0)
    assert cadence.looked(110.0) == pytest.approx(119.5)
    assert cadence.looked(125.0) == pytest.approx(139.5)


@pytest.mark.parametrize("interval", [0.0, SHORTEST / 2, LONGEST * 2])
def test_nobody_is_expected_at_once_or_much_later(interval: float) -> None:
    cadence = Cadence(0.5)
    cadence.looked(100.0)
    assert cadence.looked(100.0 + interval) is None
