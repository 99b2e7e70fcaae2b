"""The clock, and limits of the machine and of the daemon's process."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator

from crio.cli.doctor.finding import Finding, Patient, ok, warning

_RELEASED = 1_735_689_600
"""2025: a clock before it was never set."""
_TIMEX_SIZE = 512
_NOT_SYNCHRONIZED = 5
_FILES = 65536
_PIDS = 65536
_CAP_SYS_RESOURCE = 24


def check(patient: Patient) -> Iterator[Finding]:
    yield from _clock()
    yield from _limits(daemon_pid(patient.socket))


def _clock() -> Iterator[Finding]:
    if time.time() < _RELEASED:
        when = time.strftime("%Y-%m-%d")
        yield warning(
            "clock", f"it is {when} here: certificates are not valid yet", "set the clock, and run an NTP client"
        )
        return
    # adjtimex(2) with nothing to set: the result tells the state of the clock.
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))
    if state == _NOT_SYNCHRONIZED:
        text = "it is not synchronized: logs and certificates of several nodes will not fit together"
        yield warning("clock", text, "run chrony or systemd-timesyncd")
    else:
        yield ok("clock", "synchronized")


def _limits(pid: int) -> Iterator[Finding]:
    who = "the daemon" if pid else "a process started here"
    files = _open_files(pid)
    if files < _FILES:
        yield warning(
            "limits",
            f"{who} may open {files} files only",
            "start it by crio.service, which sets LimitNOFILE; or set that where it is started",
        )
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
        pids = int(file.read())
    if pids < _PIDS:
        yield warning("limits", f"kernel.pid_max is {pids}", "sysctl -w kernel.pid_max=4194304")
    if not _effective(pid) >> _CAP_SYS_RESOURCE & 1:
        yield warning(
            "limits",
            f"{who} lacks CAP_SYS_RESOURCE: negative oom_score_adj and raised ulimits are cut to what is allowed",
            "give it to whatever contains this node; without it pods run all the same",
        )


def daemon_pid(socket_path: str) -> int:
    """The process that listens on the socket, or 0."""
    import socket
    import struct

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(2.0)
            connection.connect(socket_path)
            data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return 0
    pid: int = struct.unpack("3i", data)[0]
    return pid


def _open_files(pid: int) -> int:
    with open(f"/proc/{pid or os.getpid()}/limits", encoding="ascii") as file:
        for line in file:
            if line.startswith("Max open files"):
                value = line.split()[3]
                return 1 << 30 if value == "unlimited" else int(value)
    return 1 << 30


def _effective(pid: int) -> int:
    with open(f"/proc/{pid or os.getpid()}/status", encoding="utf-8", errors="replace") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
