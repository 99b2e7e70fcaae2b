"""Bringing data onto the disk: of one file, and of a whole file system."""

from __future__ import annotations

import ctypes
import os

from crio.linux.libc import check, libc


def syncfs(fd: int) -> None:
    """Write the file system that `fd` lies on; reports its write errors since Linux 5.8 as OSError."""
    check(libc.syncfs(ctypes.c_int(fd)))


def sync_file(path: str) -> None:
    """fdatasync(2) for a file that somebody else has written."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
