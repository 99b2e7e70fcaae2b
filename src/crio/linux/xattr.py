"""Extended attributes of things named relative to a directory descriptor, links themselves included.

The *xattrat calls (Linux 6.13) are too new; the name goes through /proc/self/fd, whose final part is never followed.
"""

from __future__ import annotations


def path_at(dir_fd: int, name: bytes) -> bytes:
    """A path for os.setxattr and the like, always with follow_symlinks=False."""
    if b"/" in name or name in (b".", b".."):
        raise ValueError(f"cannot use {name!r}: it is not a plain name")
    return b"/proc/self/fd/%d/%b" % (dir_fd, name)
