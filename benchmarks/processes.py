"""Memory and processor time of processes, from /proc."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1024.0


@dataclass(frozen=True)
class Memory:
    """In MiB. `pss` counts a shared page by its share, `private` only what is the process' own."""

    rss: float
    pss: float
    private: float


def memory(pids: Iterable[int]) -> Memory:
    """The sum over processes; those that have ended count nothing."""
    rss = pss = private = 0.0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name == "Rss":
                    rss += int(rest.split()[0])
                elif name == "Pss":
                    pss += int(rest.split()[0])
                elif name in ("Private_Clean", "Private_Dirty"):
                    private += int(rest.split()[0])
    return Memory(rss / MIB, pss / MIB, private / MIB)


def stat_fields(pid: int) -> list[str]:
    """Of /proc/PID/stat what follows the command's name; [] if the process has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def parents() -> dict[int, int]:
    """The parent of each process of the machine."""
    found = {}
    for pid in all_pids():
        if fields := stat_fields(pid):
            found[pid] = int(fields[1])
    return found


def descendants(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def with_children(pids: Iterable[int], name: str) -> list[int]:
    """These processes, and their children that have this name."""
    roots = set(pids)
    return [*roots, *(pid for pid, parent in parents().items() if parent in roots and command(pid) == name)]


def command(pid: int) -> str:
    """The name that the kernel shows; "" for one that has ended."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def watching_cpu_seconds(monitor: int) -> float:
    """Used until now by a monitor and by its children of the same name, those that have ended included."""
    total = 0
    for pid in with_children([monitor], command(monitor)):
        if fields := stat_fields(pid):
            total += sum(int(value) for value in fields[11 : 15 if pid == monitor else 13])
    return total / _TICKS


def tree_cpu_seconds(root: int) -> float:
    """Used by a process, by all below it, and by those that they have reaped."""
    total = 0
    for pid in descendants(root):
        if fields := stat_fields(pid):
            total += sum(int(value) for value in fields[11:15])
    return total / _TICKS


def wait_gone(pid: int, timeout: float = 10.0) -> bool:
    """Wait for the end of a process that is not our child."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        fields = stat_fields(pid)
        if not fields or fields[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def peak_memory(pid: int) -> float:
    """The most resident memory that a process has had, in MiB."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / MIB
    return 0.0


def command_line(pid: int) -> bytes:
    """As the kernel has it, with zeros between the words; empty for a process that has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""
