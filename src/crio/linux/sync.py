"""syncfs(2): everything of one file system onto its disk."""

from __future__ import annotations

import ctypes

from crio.linux.libc import check, libc


def syncfs(fd: int) -> None:
    """Write the file system that `fd` lies on; reports its write errors since Linux 5.8 as OSError."""
    check(libc.syncfs(ctypes.c_int(fd)))
