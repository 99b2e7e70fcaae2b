"""Processes that are not our children: is this still the one we knew, and signals that cannot hit another."""

from __future__ import annotations

import os
import signal


def start_time(pid: int) -> int:
    """The process' start in clock ticks after boot (field 22 of /proc/PID/stat); 0 if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The command name, in parentheses, may itself hold spaces and parentheses.
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def process_alive(pid: int, started: int) -> bool:
    """Whether process `pid` runs, is no zombie, and is the one that started at `started` (0: any)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = stat[stat.rindex(b")") + 2 :].split()
    return fields[0] not in (b"Z", b"X") and started in (0, int(fields[19]))


def open_process(pid: int, started: int) -> int | None:
    """A pidfd of the process that started at `started`, or None if it is gone. The caller closes it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if started not in (0, start_time(pid)):
        os.close(fd)
        return None
    return fd


def kill_process(pid: int, started: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal to exactly that process; False if it is gone."""
    fd = open_process(pid, started)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True
