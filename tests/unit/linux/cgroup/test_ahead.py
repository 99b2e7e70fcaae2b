"""Getting the kernel ready for a move, and that nothing is moved by it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from crio.linux.cgroup import detect
from crio.linux.cgroup.ahead import MoveAhead


def _wait(condition: threading.Event) -> None:
    assert condition.wait(60)


def test_one_at_a_time() -> None:
    entered, go, calls = threading.Event(), threading.Event(), []

    def move() -> None:
        calls.append(1)
        entered.set()
        go.wait(60)

    ahead = MoveAhead(move)
    ahead.begin()
    _wait(entered)
    ahead.begin()
    go.set()
    _until_idle(ahead)
    assert calls == [1]


def test_again_after_a_while() -> None:
    calls: list[int] = []
    ahead = MoveAhead(lambda: calls.append(1))
    for count in (1, 2):
        ahead.begin()
        _until_idle(ahead)
        assert len(calls) == count
        time.sleep(0.02)


def test_a_move_that_is_refused_is_no_error() -> None:
    def move() -> None:
        raise PermissionError(1, "no")

    ahead = MoveAhead(move)
    ahead.begin()
    _until_idle(ahead)


@pytest.mark.root
def test_this_process_stays_where_it_is() -> None:
    before = Path("/proc/self/cgroup").read_text()
    groups = detect()
    groups.expect_move()
    _until_idle(groups._ahead)
    assert Path("/proc/self/cgroup").read_text() == before


def _until_idle(ahead: MoveAhead) -> None:
    end = time.monotonic() + 60
    while ahead._busy:
        assert time.monotonic() < end
        time.sleep(0.001)
