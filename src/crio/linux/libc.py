"""The C library through ctypes, and the one way its errors become OSError."""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, *paths: str | bytes | None) -> int:
    """`result` unless it is negative: then OSError from errno with the paths that the call was about."""
    if result < 0:
        number = ctypes.get_errno()
        names = [os.fsdecode(path) for path in paths if path is not None]
        raise OSError(
            number,
            os.strerror(number),
            *([names[0]] if names else []),
            *([None, names[1]] if len(names) > 1 else []),
        )
    return result


def syscall(number: int, *arguments: object) -> int:
    """syscall(2) for calls that the C library has no wrapper for. Raises OSError."""
    return check(int(libc.syscall(ctypes.c_long(number), *arguments)))
