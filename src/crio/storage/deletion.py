"""Deleting directory trees that somebody else has filled: however deep, whatever links and mounts they hold."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
from collections.abc import Callable

from crio.linux.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)

log = logging.getLogger(__name__)

_MAX_DEPTH = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_IMMUTABLE_OR_APPEND = 0x30


def delete_tree(path: str, *, limit: int | None = None) -> bool:
    """Delete a directory tree however deep it is, without following links or entering mounts below it.

    False if `limit` entries did not suffice. What cannot be deleted is logged and left: it is in a place that is tried
    again at the next start.
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
        # Never into a mount: what somebody has bound there is not ours to delete.
        fd = os.open(name, _DIRECTORY) if parent is None else openat2(parent, name, _DIRECTORY, resolve=_RESOLVE)
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
