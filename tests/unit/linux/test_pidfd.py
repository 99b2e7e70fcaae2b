"""Processes are known by number and start time."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from crio.linux.pidfd import kill_process, open_process, process_alive, start_time


def test_a_running_process_is_known_by_its_start_time() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        started = start_time(child.pid)
        assert started > 0
        assert process_alive(child.pid, started)
        assert process_alive(child.pid, 0)
        assert not process_alive(child.pid, started + 1)
        assert open_process(child.pid, started + 1) is None
        assert not kill_process(child.pid, started + 1)
        assert child.poll() is None
        assert kill_process(child.pid, started)
    finally:
        # Not by child.kill(), which reaps one that has ended by now.
        os.kill(child.pid, signal.SIGKILL)
    # A zombie has ended, although its number is still taken.
    deadline = time.monotonic() + 60
    while process_alive(child.pid, started) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.path.exists(f"/proc/{child.pid}")
    assert not process_alive(child.pid, started)
    child.wait()
    assert start_time(child.pid) == 0
    assert not kill_process(child.pid, started)


def test_a_name_with_parentheses_does_not_confuse(tmp_path: os.PathLike[str]) -> None:
    program = os.path.join(tmp_path, "a) R (b")
    os.symlink("/bin/sleep", program)
    child = subprocess.Popen([program, "60"])
    try:
        assert process_alive(child.pid, start_time(child.pid))
    finally:
        child.kill()
        child.wait()
