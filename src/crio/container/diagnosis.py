"""Why a process does not end, told from what the kernel shows of it (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Sequence

_MOST = 3
_MAX_DESCRIPTOR = 1 << 20
_MAX_MOUNTINFO = 8 << 20


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
    if file := _file_in_use(pid):
        what += f", using {file}"
    return what


def _file_in_use(pid: int) -> str:
    """The file that a process' system call is about, and the mount that it lies on; "" if that cannot be told.

    Nothing here asks the file system itself, which may be what hangs.
    """
    words = _read(pid, "syscall").split()
    if len(words) < 2 or not words[1].startswith("0x"):
        return ""
    # Of most calls that wait for a file system the first argument is a descriptor.
    descriptor = int(words[1], 16)
    if descriptor > _MAX_DESCRIPTOR:
        return ""
    try:
        path = os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except OSError:
        return ""
    fields = dict(line.split(":\t", 1) for line in _read(pid, f"fdinfo/{descriptor}").splitlines() if ":\t" in line)
    mount = _mount(pid, fields.get("mnt_id", "").strip())
    return f"{path} ({mount})" if mount else path


def _mount(pid: int, mount_id: str) -> str:
    """ "nfs4 server:/export at /data": one mount of a process, by its number."""
    if not mount_id:
        return ""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            for line in file.read(_MAX_MOUNTINFO).decode("utf-8", "replace").splitlines():
                left, _, right = line.partition(" - ")
                if left.startswith(f"{mount_id} "):
                    kind, source, *_ = [*right.split(" "), ""]
                    return f"{kind} {source} at {left.split(' ')[4]}"
    except OSError:
        pass
    return ""


def _read(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read(16384).decode("utf-8", "replace")
    except OSError:
        return ""
