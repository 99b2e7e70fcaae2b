"""The demonstration as a whole, on the real daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crio.cli.demo.leftovers import KINDS, Snapshot, new_things
from crio.linux.process_tree import children_of

SRC = str(Path(__file__).parents[4] / "src")

pytestmark = pytest.mark.root


def demo(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "crio.cli.demo", "--plain", "--directory", str(directory), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": SRC},
    )


def marks(directory: Path) -> list[str]:
    """What the things of a demonstration carry; where others may show one at this time only what names its place."""
    return [str(directory), *([] if os.environ.get("CRIO_TEST_SHARED_MACHINE") else ["crio-demo", "criodemo"])]


def test_it_succeeds_and_leaves_nothing(tmp_path: Path) -> None:
    before = Snapshot.take()
    with demo(tmp_path) as child:
        out, _ = child.communicate(timeout=240)
    assert child.returncode == 0, out
    assert "says 'Hello from a pod'" in out
    assert "exit code 0 (Completed)" in out
    assert out.endswith("left behind: nothing\n")
    assert os.listdir(tmp_path) == []
    assert new_things(before, Snapshot.take(), marks(tmp_path)) == {}


@pytest.mark.parametrize("moment", ["ok  start the daemon", "ok  run a pod sandbox", "ok  start the container"])
def test_a_daemon_that_dies_is_told_with_its_log(tmp_path: Path, moment: str) -> None:
    with demo(tmp_path, "--keep") as child:
        out = ""
        assert child.stdout is not None
        for line in child.stdout:
            out += line
            if line.startswith(moment):
                _kill_daemon(child.pid)
        child.wait(timeout=240)
    assert child.returncode == 1, out
    assert "The demonstration failed: " in out
    assert "The end of the daemon's log:" in out
    (directory,) = tmp_path.iterdir()
    assert "is ready on" in (directory / "crio.log").read_text()
    assert "left behind" not in out
    assert new_things(Snapshot(*(frozenset[str]() for _ in KINDS)), Snapshot.take(), [directory.name]) == {}


def test_an_interrupt_cleans_up(tmp_path: Path) -> None:
    before = Snapshot.take()
    with demo(tmp_path) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("ok  start the container"):
                child.send_signal(signal.SIGINT)
                break
        child.communicate(timeout=240)
    assert child.returncode == 130
    assert new_things(before, Snapshot.take(), marks(tmp_path)) == {}


def _kill_daemon(parent: int) -> None:
    for pid in children_of(parent):
        try:
            is_daemon = b"crio.conf" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if is_daemon:
            os.kill(pid, signal.SIGKILL)
            return
    raise AssertionError("the daemon does not run")
