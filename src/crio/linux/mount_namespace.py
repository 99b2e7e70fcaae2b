"""Joining a mount namespace that somebody else made (KUBENSMNT: the node hides kubelet's mounts in one)."""

from __future__ import annotations

import ctypes
import os

from crio.linux.libc import check, libc

_CLONE_NEWNS = 0x00020000
_NSFS_MAGIC = 0x6E736673


class _Statfs(ctypes.Structure):
    """struct statfs of 64-bit Linux; only the type is read (statfs(2))."""

    _fields_ = (("f_type", ctypes.c_long), ("rest", ctypes.c_char * 256))


libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
libc.fstatfs.argtypes = [ctypes.c_int, ctypes.POINTER(_Statfs)]


def join(path: str) -> None:
    """Make `path`, a file on which a mount namespace is bound, the mount namespace of this process.

    The process must have one thread only (setns(2)). Raises OSError, also if the file is no namespace.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = _Statfs()
        check(libc.fstatfs(fd, ctypes.byref(status)), path)
        if status.f_type != _NSFS_MAGIC:
            raise OSError(22, "it is no namespace", path)
        directory = os.getcwd()
        check(libc.setns(fd, _CLONE_NEWNS), path)
        # The kernel sets root and working directory to those of the namespace.
        os.chdir(directory if os.path.isdir(directory) else "/")
    finally:
        os.close(fd)
