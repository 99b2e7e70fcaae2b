"""Staging places that clean up after the dead: a directory is in use as long as somebody holds the lock beside it.

The form is that of containers/storage: `lock-X` and `temp-dir-X`; whoever gets the lock of another finds its owner
gone and removes both.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import threading

from crio.storage.deletion import delete_tree

log = logging.getLogger(__name__)

_OFD_SETLK = 37
_FLOCK = struct.Struct("hhqqi4x")


class TempDir:
    """One staging directory of this process, removed with everything in it by `close`."""

    def __init__(self, root: str) -> None:
        """Makes `root` (0700) if need be, and a directory in it. Raises OSError."""
        os.makedirs(root, mode=0o700, exist_ok=True)
        while True:
            mark = os.urandom(8).hex()
            self._lock_path = os.path.join(root, f"lock-{mark}")
            self._fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # Between the two calls somebody may have taken it for a dead one's.
            if _try_lock(self._fd) and os.fstat(self._fd).st_nlink:
                break
            os.close(self._fd)
        self.path = os.path.join(root, f"temp-dir-{mark}")
        try:
            os.mkdir(self.path, 0o700)
        except BaseException:
            os.unlink(self._lock_path)
            os.close(self._fd)
            raise
        self._next = 0
        self._mutex = threading.Lock()

    def new_path(self, suffix: str) -> str:
        """A name in the directory that was never given before; nothing is made."""
        with self._mutex:
            self._next += 1
            return os.path.join(self.path, f"{self._next}-{suffix}")

    def close(self) -> None:
        if self._fd >= 0:
            delete_tree(self.path)
            try:
                os.unlink(self._lock_path)
            except FileNotFoundError:
                pass
            os.close(self._fd)
            self._fd = -1


def remove_stale(root: str) -> int:
    """Remove what dead processes left below `root`; the number of staging directories that went."""
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return 0
    locks = {name.removeprefix("lock-") for name in names if name.startswith("lock-")}
    directories = {name.removeprefix("temp-dir-") for name in names if name.startswith("temp-dir-")}
    removed = 0
    for mark in locks | directories:
        removed += _remove_if_stale(root, mark)
    return removed


def _remove_if_stale(root: str, mark: str) -> bool:
    lock_path, directory = os.path.join(root, f"lock-{mark}"), os.path.join(root, f"temp-dir-{mark}")
    try:
        fd = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = -1
    try:
        if fd >= 0 and not _try_lock(fd):
            return False
        if os.path.isdir(directory):
            log.info("removing %s, which a dead process left", directory)
            delete_tree(directory)
        if fd >= 0:
            os.unlink(lock_path)
        return True
    except FileNotFoundError:
        return False
    finally:
        if fd >= 0:
            os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, _OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
