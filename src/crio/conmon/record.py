"""The files of a monitor in its container's bundle, above all how the container ended.

Two files, each replaced by rename: `exit.json` in the bundle, then `<exit_dir>/<id>` with the exit code as text, as
conmon writes it and other tools read it. A directory watcher that sees the second can read the first. An `oom` file in
the bundle says that the kernel killed a process of the container for lack of memory.
"""

from __future__ import annotations

import os

VERSION = 1
PID_FILE = "pid"
MONITOR_PID_FILE = "conmon.pid"
CONTROL_SOCKET = "ctl"
ATTACH_SOCKET = "attach"
EXIT_FILE = "exit.json"
OOM_FILE = "oom"
CRASH_FILE = "conmon.crash"
UNKNOWN_EXIT_CODE = 255
"""Of a container whose monitor died before it."""
_RESERVED = 2048
"""Bytes; more than an exit record ever has."""


def json_object(fields: dict[str, int | bool | str]) -> bytes:
    """A flat JSON object, for programs that cannot afford the json module."""
    items = []
    for name, value in fields.items():
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, int):
            text = str(value)
        else:
            clean = "".join(c if c >= " " else " " for c in value)
            text = '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
        items.append(f'"{name}": {text}')
    return ("{" + ", ".join(items) + "}\n").encode("utf-8", "replace")


def replace_file(path: str, data: bytes) -> None:
    """Write a small file (0600) by rename. The temporary name is fixed: only the monitor writes its files."""
    temporary = _write_beside(path, data)
    os.rename(temporary, path)


def reserve_file(path: str) -> None:
    """Take the space for a later `replace_file`, which then succeeds on a full file system, too. OSError."""
    _write_beside(path, b" " * _RESERVED)


def temporary_of(path: str) -> str:
    """Where a file is written before it gets its name; a monitor that is killed then, or finds no space, leaves it."""
    directory, name = os.path.split(path)
    return f"{directory}/.{name}.tmp"


def _write_beside(path: str, data: bytes) -> str:
    temporary = temporary_of(path)
    # What is there is written over, and cut only then: so its space is not given away.
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, data)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
    return temporary


def exit_code_of(status: int | None) -> tuple[int, int]:
    """Exit code and signal (0 if none) of a wait status; a signal's code is 128 plus its number, as in a shell."""
    if status is None:
        return UNKNOWN_EXIT_CODE, 0
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status), os.WTERMSIG(status)
    return os.WEXITSTATUS(status), 0
