"""Which file system a path lies on (statfs(2))."""

from __future__ import annotations

import ctypes
import os

from crio.linux.libc import check, libc

BTRFS = 0x9123683E
_NO_OVERLAY = {
    0x794C7630: "overlayfs",
    0x6969: "nfs",
    0xF15F: "ecryptfs",
    0x61756673: "aufs",
    0x01021997: "9p",
    0x4D44: "vfat",
    0xFE534D42: "smb",
    0xFF534D42: "cifs",
}


def magic(path: str) -> int:
    """The number of the file system (`linux/magic.h`) of `path`, or of its nearest parent that exists."""
    while not os.path.exists(path) and path not in ("/", ""):
        path = os.path.dirname(path)
    buffer = ctypes.create_string_buffer(256)
    check(libc.statfs(os.fsencode(path or "."), buffer), path)
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], "little") & 0xFFFFFFFF


def refuses_overlay(path: str) -> str:
    """The name of the file system of `path` if the kernel's overlay cannot write to it, else ""."""
    return _NO_OVERLAY.get(magic(path), "")
