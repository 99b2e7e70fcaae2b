"""A flood of refused clients does not flood the log."""

from __future__ import annotations

import pytest

from crio.streaming.refusals import MOST, PERIOD, Refusals
from log_records import of_crio


def test_few_are_told_and_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    refusals = Refusals(lambda: now)
    for number in range(1000):
        refusals.tell(f"guess {number}")
    assert [record.getMessage() for record in of_crio(caplog)] == [f"stream refused: guess {n}" for n in range(MOST)]
    now += PERIOD
    refusals.tell("another")
    assert [record.getMessage() for record in of_crio(caplog)[MOST:]] == [
        f"streams refused: {1000 - MOST} more within 60 s",
        "stream refused: another",
    ]


def test_nothing_is_added_when_all_were_told(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    refusals.tell("one")
    now += 2 * PERIOD
    refusals.tell("two")
    assert len(of_crio(caplog)) == 2
