"""Why a process does not end, told from what the kernel shows of it (proc(5))."""

from __future__ import annotations

from collections.abc import Sequence

_MOST = 3


def diagnose(pid: int, group: Sequence[int]) -> str:
    """One sentence on the process `pid` and those in its control group that are stuck."""
    stuck = [text for process in dict.fromkeys([pid, *group]) if (text := _stuck(process))]
    if not stuck:
        return "no process of it is stuck in the kernel; its monitor may be gone"
    more = f" and {len(stuck) - _MOST} more" if len(stuck) > _MOST else ""
    return "; ".join(stuck[:_MOST]) + more


def _stuck(pid: int) -> str:
    status = _read(pid, "status")
    if not status:
        return ""
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    state = fields.get("State", "?").strip()
    if state[:1] not in "DTtZ":
        return ""
    where = _read(pid, "wchan").strip("0\n")
    stack = [line.split()[-1].partition("+")[0] for line in _read(pid, "stack").splitlines()[:3] if line.strip()]
    what = f"process {pid} ({fields.get('Name', '?').strip()}) is in state {state}"
    if where:
        what += f", waiting in {where}"
    if stack:
        what += f" (stack: {' < '.join(stack)})"
    return what


def _read(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read(16384).decode("utf-8", "replace")
    except OSError:
        return ""
