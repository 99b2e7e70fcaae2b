"""Whoever a command has started ends with it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.linux.process_tree import kill_tree, processes_called

SLEEP = "sleep 4567"


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same session as the test that must not be hit."""
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


def start(script: str, expected: int) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A shell that leads a session, with the pids of itself and of what it has started, all found by a marker."""
    marker = f"TREE={os.getpid()}-{time.monotonic_ns()}"
    child = subprocess.Popen(
        ["sh", "-c", script], env={"PATH": os.environ["PATH"], "M": marker}, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(found := marked(marker)) < expected:
        assert time.monotonic() < deadline, f"only {found} came up"
        time.sleep(0.01)
    return child, found


def marked(marker: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"M={marker}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def running(pids: list[int]) -> list[int]:
    """Those that are there and no zombies."""
    alive = []
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        if stat[stat.rindex(")") + 2] not in "ZX":
            alive.append(pid)
    return alive


def assert_ends(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while left := running(pids):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "processes"),
    [
        (f"exec {SLEEP}", 1),
        (f"{SLEEP} & {SLEEP} | {SLEEP}; true", 4),
        (f"setsid sh -c '{SLEEP}; true' & wait", 3),
        (f"(({SLEEP} &) &); exec {SLEEP}", 2),
    ],
    ids=["alone", "children", "own session", "orphan"],
)
def test_all_that_a_command_started_ends_with_it(
    script: str, processes: int, bystander: subprocess.Popen[bytes]
) -> None:
    child, pids = start(script, processes)
    try:
        assert kill_tree(child.pid) >= processes
        assert child.wait(60) == -9
        assert_ends(pids)
        assert bystander.poll() is None
    finally:
        for pid in running(pids):
            os.kill(pid, 9)


def test_who_is_left_of_a_session_ends_after_its_leader() -> None:
    child, pids = start(f"{SLEEP} & {SLEEP} & wait", 3)
    child.kill()
    child.wait()
    assert kill_tree(child.pid) == 2
    assert_ends(pids)


def test_no_process_is_no_error() -> None:
    child = subprocess.Popen(["true"], start_new_session=True)
    child.wait()
    assert kill_tree(child.pid) == 0
    assert kill_tree(0) == 0
    assert kill_tree(1) == 0


def test_processes_by_their_arguments() -> None:
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    with subprocess.Popen(["sh", "-c", "read x", "name", mark], stdin=subprocess.PIPE) as child:
        # It may not be that program yet.
        deadline = time.monotonic() + 60
        while processes_called("read x", mark) != [child.pid]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert processes_called(mark, "other") == []
        child.kill()
    assert processes_called(mark) == []
