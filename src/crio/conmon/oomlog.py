"""OOM kills by the kernel's log, where the counter went before it could be read.

With systemd, a cgroup is removed at once when the last process in it has ended; if the kernel killed that one for lack
of memory, the monitor and systemd wake at the same time. The kernel tells each such kill in its log, too.
"""

from __future__ import annotations

import os

_PATH = "/dev/kmsg"
_MAX_RECORD = 8192
_MAX_RECORDS = 100_000


def killed_for_memory(pid: int, cgroup: str, since: float, path: str = _PATH) -> bool:
    """Whether the log tells that process `pid`, or one in `cgroup`, was killed at `since` or later.

    `cgroup` is a path as in /proc/PID/cgroup, `since` in seconds of CLOCK_MONOTONIC. False if the log can't be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        for _ in range(_MAX_RECORDS):
            try:
                record = os.read(fd, _MAX_RECORD)
            except BrokenPipeError:
                # Records were overwritten before they were read; the next one is there.
                continue
            if not record:
                return False
            if tells_kill(record, pid, cgroup, since):
                return True
    except OSError:
        # EAGAIN: this was all.
        pass
    finally:
        os.close(fd)
    return False


def tells_kill(record: bytes, pid: int, cgroup: str, since: float) -> bool:
    """Whether one record ("priority,number,microseconds,flags;text") tells of such a kill."""
    prefix, _, text = record.partition(b";")
    fields = prefix.split(b",")
    if len(fields) < 3 or not fields[2].isdigit() or int(fields[2]) < since * 1e6:
        return False
    if text.startswith(b"Memory cgroup out of memory: Killed process %d (" % pid):
        return True
    if not text.startswith(b"oom-kill:constraint=CONSTRAINT_MEMCG,"):
        return False
    _, _, group = text.partition(b",task_memcg=")
    group = group.partition(b",task=")[0]
    wanted = os.fsencode(cgroup)
    return bool(wanted) and (group == wanted or group.startswith(wanted + b"/"))
