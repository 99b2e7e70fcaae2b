"""Why a process does not end, read from the kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from crio.container.diagnosis import _file_in_use, diagnose


def test_a_stopped_process_is_named_with_its_state() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        os.kill(child.pid, signal.SIGSTOP)
        end = time.monotonic() + 60
        while "state T" not in (text := diagnose(child.pid, [])) and time.monotonic() < end:
            time.sleep(0.01)
        assert f"process {child.pid} (sleep) is in state T" in text
        assert diagnose(child.pid, [child.pid]) == text
    finally:
        child.kill()
        child.wait()


def test_the_file_that_a_call_waits_for_is_named_with_its_mount(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    holder = os.open(fifo, os.O_RDWR)
    child = subprocess.Popen(["cat", str(fifo)], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while str(fifo) not in (text := _file_in_use(child.pid)) and time.monotonic() < end:
            time.sleep(0.01)
        assert text.startswith(f"{fifo} (")
        assert " at /" in text
    finally:
        child.kill()
        child.wait()
        os.close(holder)
    assert _file_in_use(child.pid) == ""


def test_what_is_gone_or_runs_is_not_stuck() -> None:
    assert "no process of it is stuck" in diagnose(os.getpid(), [1 << 22])
