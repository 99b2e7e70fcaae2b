"""The record of ended children is written by a signal handler, at any moment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from crio.conmon import children


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    children.forget()
    yield
    children.forget()


def test_child_that_ends_while_others_are_forgotten() -> None:
    # A handler runs between two steps of the interpreter: here one comes at each of them.
    for pid in range(1, 9):
        children._ended[pid] = 0
    late = iter(range(1000, 2000))

    def step(frame: FrameType, _event: str, _argument: object) -> Any:
        frame.f_trace_opcodes = True
        if frame.f_code.co_name != "step":
            children._ended[next(late)] = 0
        return step

    tracer = sys.gettrace()
    sys.settrace(step)
    try:
        children.remember_only(3)
    finally:
        sys.settrace(tracer)
    assert children._only == [3]
    assert 3 in children._ended
    assert not {1, 2, 4, 5, 6, 7, 8} & set(children._ended)


def test_status_of_a_child_that_was_reaped_already() -> None:
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    children.remember_only(pid)
    status = children.status_of(pid)
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == 7
    assert children.status_of(pid) is None
