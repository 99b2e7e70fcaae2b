"""Bringing data onto the disk: of one file, and of a whole file system."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from crio.linux.libc import check, libc


def syncfs(fd: int) -> None:
    """Write the file system that `fd` lies on; reports its write errors since Linux 5.8 as OSError."""
    check(libc.syncfs(ctypes.c_int(fd)))


def sync_file_systems(paths: Iterable[str]) -> None:
    """Write the file systems on which these directories lie, each once, and no other: one that does not answer keeps
    whoever writes it waiting. Those that do not exist are left out. Raises OSError as `syncfs`.
    """
    done: set[int] = set()
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if (device := os.fstat(fd).st_dev) not in done:
                done.add(device)
                syncfs(fd)
        finally:
            os.close(fd)


def sync_file(path: str) -> None:
    """fdatasync(2) for a file that somebody else has written."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
