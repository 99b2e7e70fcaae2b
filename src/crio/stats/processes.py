"""What /proc tells of processes (proc(5)), where it is asked for hundreds of them."""

from __future__ import annotations

import os

_CHUNK = 16384
_MOST = 1 << 20


def read(path: str) -> bytes:
    """A file of /proc, up to a mebibyte. Raises OSError. Without a file object, which would take most of the time."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, _CHUNK)
        # A long one comes in pieces, which may be smaller than what was asked for.
        while len(data) < _MOST and (more := os.read(fd, _CHUNK)):
            data += more
        return data
    finally:
        os.close(fd)


def open_files(pid: int) -> tuple[int, int]:
    """How many files and, among them, sockets a process has open; none when it is gone."""
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except OSError:
        return 0, 0
    sockets = 0
    for name in names:
        try:
            sockets += os.readlink(f"{directory}/{name}").startswith("socket:")
        except OSError:
            continue
    return len(names), sockets


def soft_limit_of_files(pid: int) -> int | None:
    """How many files a process may open; None for unlimited or when it is gone."""
    try:
        limits = read(f"/proc/{pid}/limits")
    except OSError:
        return None
    fields = limits.partition(b"\nMax open files")[2].split(None, 1)
    return int(fields[0]) if fields and fields[0].isdigit() else None
