"""The container's root file system as the image left it: opened once, and refused if it would trap the runtime."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from crio.base.errors import InvalidArgument


@contextmanager
def opened(rootfs: str) -> Iterator[int]:
    """A descriptor of the root directory. Raises OSError if it is not there."""
    fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def check(root_fd: int) -> None:
    """Raises InvalidArgument if the image has a link for /proc or /sys.

    A runtime that follows it mounts, masks and checks the wrong place (CVE-2019-19921, CVE-2023-27561, CVE-2023-28642).
    """
    for name in ("proc", "sys"):
        try:
            mode = os.lstat(name, dir_fd=root_fd).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(mode):
            raise InvalidArgument(f"cannot create container: /{name} of the image is no directory")
