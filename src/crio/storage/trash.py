"""Directories on their way out: moved aside at once, under the lock, and deleted when nobody waits for it.

What a process that died had moved aside is deleted by the next one (`tempdirs.py`).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import queue
import struct
import threading
from collections.abc import Callable

from crio.storage.tempdirs import TempDir

log = logging.getLogger(__name__)

INLINE_ENTRIES = 256
"""Files that the caller deletes itself; a container's few files are gone sooner than a thread has started."""

_MAX_DEPTH = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_IMMUTABLE_OR_APPEND = 0x30


class Trash:
    """The trash of one store. `discard` while the lock is held, `empty` after."""

    def __init__(self) -> None:
        self._bins: dict[str, TempDir] = {}
        self._waiting: list[str] = []
        self._mutex = threading.Lock()
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def bin(self, home: str) -> TempDir:
        """This process's staging directory in the driver directory `home`."""
        with self._mutex:
            if home not in self._bins:
                self._bins[home] = TempDir(os.path.join(home, "tempdirs"))
            return self._bins[home]

    def discard(self, path: str, home: str) -> None:
        """Move `path`, which lies in the driver directory `home`, out of everybody's sight."""
        aside = self.bin(home).new_path(os.path.basename(path)[:64])
        os.rename(path, aside)
        with self._mutex:
            self._waiting.append(aside)

    def empty(self) -> None:
        """Delete what was discarded: small trees now, large ones by a background thread."""
        with self._mutex:
            waiting, self._waiting = self._waiting, []
        for path in waiting:
            if not delete_tree(path, limit=INLINE_ENTRIES):
                self._in_background(path)

    def close(self) -> None:
        """Wait until everything is deleted, and remove the staging directories."""
        self.empty()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        for bin in self._bins.values():
            bin.close()
        self._bins.clear()

    def _in_background(self, path: str) -> None:
        with self._mutex:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="storage trash", daemon=True)
                self._thread.start()
        self._queue.put(path)

    def _run(self) -> None:
        while (path := self._queue.get()) is not None:
            delete_tree(path)


def delete_tree(path: str, *, limit: int | None = None) -> bool:
    """Delete a directory tree however deep it is, without following links. False if `limit` entries did not suffice.

    What cannot be deleted is logged and left: it is in a place that is tried again at the next start.
    """
    try:
        return _Deletion(path, limit).run()
    except FileNotFoundError:
        return True
    except OSError as error:
        log.warning("cannot delete %s: %s; it is tried again at the next start", path, error)
        return True


class _Deletion:
    """One tree. Directories deeper than 64 are moved up first, so that neither recursion nor descriptors run out."""

    def __init__(self, path: str, limit: int | None) -> None:
        self._path = path
        self._left = limit
        self._moved = 0
        self._stack: list[tuple[int, str, list[str]]] = []

    def run(self) -> bool:
        try:
            self._enter(self._path, None)
            while self._stack:
                fd, name, directories = self._stack[-1]
                if self._left is not None and self._left < 0:
                    return False
                if directories:
                    self._descend(fd, directories.pop())
                    continue
                self._stack.pop()
                os.close(fd)
                parent = self._stack[-1][0] if self._stack else None
                self._forced(parent, name, lambda: os.rmdir(name, dir_fd=parent))  # noqa: B023 - called at once
            return True
        finally:
            while self._stack:
                os.close(self._stack.pop()[0])

    def _descend(self, fd: int, name: str) -> None:
        if len(self._stack) < _MAX_DEPTH:
            self._enter(name, fd)
            return
        top, _, directories = self._stack[0]
        moved = f".deep-{self._moved}"
        self._moved += 1
        self._forced(fd, name, lambda: os.rename(name, moved, src_dir_fd=fd, dst_dir_fd=top))
        directories.append(moved)

    def _enter(self, name: str, parent: int | None) -> None:
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        directories: list[str] = []
        self._stack.append((fd, name, directories))
        with os.scandir(fd) as entries:
            for entry in entries:
                if self._left is not None:
                    self._left -= 1
                    if self._left < 0:
                        return
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.name)
                else:
                    self._forced(fd, entry.name, lambda: os.unlink(entry.name, dir_fd=fd))  # noqa: B023

    def _forced(self, parent: int | None, name: str, act: Callable[[], None]) -> None:
        """Do it; if it is forbidden, take the immutable and append-only flags away that a container may have set."""
        try:
            act()
        except PermissionError:
            if parent is not None:
                _clear_flags(parent)
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENXIO):
                    raise
            else:
                try:
                    _clear_flags(fd)
                finally:
                    os.close(fd)
            act()


def _clear_flags(fd: int) -> None:
    try:
        flags = struct.unpack("i4x", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)))[0]
        if flags & _IMMUTABLE_OR_APPEND:
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("i4x", flags & ~_IMMUTABLE_OR_APPEND))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
