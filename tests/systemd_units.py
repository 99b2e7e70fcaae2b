"""What systemd tells of its units, and what the kernel tells of their groups."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def show(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit."""
    command = ["systemctl", "show", unit, *(f"--property={name}" for name in names)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines())


def units(pattern: str) -> list[str]:
    """Units that are loaded, by pattern."""
    command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", pattern]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in text.splitlines()]


def group_of(pid: int) -> str:
    """The version 2 group of a process."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise AssertionError(f"process {pid} has no group")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)
