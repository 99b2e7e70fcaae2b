"""Extended attributes of things named relative to a directory descriptor, links themselves included.

The *xattrat calls (Linux 6.13) are too new; the name goes through /proc/self/fd, whose final part is never followed.
"""

from __future__ import annotations

import os

MAX_VALUE = 1 << 16
"""Bytes: XATTR_SIZE_MAX."""


def path_at(dir_fd: int, name: bytes) -> bytes:
    """A path for os.setxattr and the like, always with follow_symlinks=False."""
    if b"/" in name or name in (b".", b".."):
        raise ValueError(f"cannot use {name!r}: it is not a plain name")
    return b"/proc/self/fd/%d/%b" % (dir_fd, name)


def set_at(dir_fd: int, name: bytes, attribute: bytes, value: bytes) -> None:
    os.setxattr(path_at(dir_fd, name), attribute, value, follow_symlinks=False)


def get_at(dir_fd: int, name: bytes, attribute: bytes) -> bytes:
    """Raises OSError with ENODATA if the attribute is not there."""
    return os.getxattr(path_at(dir_fd, name), attribute, follow_symlinks=False)


def read_all_at(dir_fd: int, name: bytes) -> dict[str, bytes]:
    """All attributes that this process may see, with their values."""
    path = path_at(dir_fd, name)
    return {
        attribute: os.getxattr(path, attribute, follow_symlinks=False)
        for attribute in os.listxattr(path, follow_symlinks=False)
    }
