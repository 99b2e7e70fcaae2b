"""Pieces of blobs that an interrupted transfer has left, so that the next one asks only for the rest.

A blob is a sparse file named by its digest, and beside it a journal of the ranges that were written: a line for each,
after its bytes. What is read back is verified with the whole blob by its digest, so neither file has to be trusted or
synced. Space is bounded, old pieces go, and who holds a file's lock is the only one to use it.
"""

from __future__ import annotations

import bisect
import contextlib
import fcntl
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator

import msgspec

from crio.base.ids import Digest
from crio.base.regex import regex

log = logging.getLogger(__name__)

MAX_BYTES = 16 << 30
"""Of all kept pieces together."""
MAX_AGE = 24 * 3600.0
"""Seconds after the last write."""
MIN_FREE_SHARE = 0.1
"""Of the file system, which the pieces leave alone."""
_JOURNAL = ".ranges"
_MAX_JOURNAL = 4 << 20
_NAME = regex(r"sha(?:256|512)-[0-9a-f]{64,128}")
_LINE = regex(rb"(\d{1,18}) (\d{1,18})\n")
_NOTE_EVERY = 1 << 18
"""Bytes after which a range is noted: so many are lost by a kill."""


class _Found(msgspec.Struct, frozen=True):
    path: str
    bytes: int
    changed: float


class KeptBlob:
    """One blob's pieces, locked by this object. Thread-safe; made by `KeptBlobs.open`."""

    def __init__(self, path: str, fd: int, journal_fd: int, size: int) -> None:
        self._path = path
        self._fd = fd
        self._journal_fd = journal_fd
        self._size = size
        self._lock = threading.Lock()
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._unnoted: dict[int, int] = {}
        for start, end in _read_journal(journal_fd, size):
            self._merge(start, end)
        self.found = sum(self._ends) - sum(self._starts)
        """Bytes that an earlier attempt has left."""

    def available(self, position: int) -> int:
        """Up to where the bytes from `position` on are here; `position` itself if the next one is not."""
        with self._lock:
            index = bisect.bisect_right(self._starts, position) - 1
            return max(position, self._ends[index]) if index >= 0 else position

    def gap_end(self, position: int) -> int:
        """Up to where bytes are missing, when the one at `position` is."""
        with self._lock:
            index = bisect.bisect_left(self._starts, position)
            return self._starts[index] if index < len(self._starts) else self._size

    def read(self, position: int, limit: int) -> bytes:
        """What is here from `position` on, at most `limit` bytes; empty if the file lacks what the journal says."""
        return os.pread(self._fd, min(limit, self.available(position) - position), position)

    def write(self, position: int, data: bytes) -> None:
        """Keep `data`. Raises OSError, for instance when the disk is full."""
        view = memoryview(data)
        at = position
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        with self._lock:
            self._merge(position, at)
            begin = self._unnoted.pop(position, position)
            if at - begin < _NOTE_EVERY and at < self._size:
                self._unnoted[at] = begin
                return
            os.write(self._journal_fd, b"%d %d\n" % (begin, at))

    def discard(self) -> None:
        """Remove the pieces."""
        for path in (self._path, self._path + _JOURNAL):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def close(self) -> None:
        """Leave the pieces for the next attempt. Idempotent."""
        with self._lock:
            if self._fd < 0:
                return
            with contextlib.suppress(OSError):
                os.write(self._journal_fd, b"".join(b"%d %d\n" % (begin, end) for end, begin in self._unnoted.items()))
            os.close(self._journal_fd)
            os.close(self._fd)
            self._fd = self._journal_fd = -1

    def _merge(self, start: int, end: int) -> None:
        first = bisect.bisect_left(self._ends, start)
        last = bisect.bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]


class KeptBlobs:
    """The directory of all pieces. Thread-safe, and safe between processes by the files' locks."""

    def __init__(self, directory: str, *, max_bytes: int = MAX_BYTES, max_age: float = MAX_AGE) -> None:
        """`directory` (0700) is made when the first piece is."""
        self.directory = directory
        self._max_bytes = max_bytes
        self._max_age = max_age

    def find(self, digest: Digest, size: int) -> KeptBlob | None:
        """What an earlier attempt has left of the blob; None if that is nothing, or somebody else is using it."""
        return self._open(digest, size, create=False)

    def open(self, digest: Digest, size: int) -> KeptBlob | None:
        """A place to keep the blob's pieces; None if there is no room or somebody else keeps them."""
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            if not self._make_room(size):
                return None
            return self._open(digest, size, create=True)
        except OSError as error:
            log.warning("cannot keep what is received of %s: %s", digest, error)
            return None

    def clean(self) -> int:
        """Remove pieces that are too old; how many blobs that were."""
        limit = time.time() - self._max_age
        return sum(_remove(found.path) for found in self._list() if found.changed < limit)

    def usage(self) -> int:
        """Bytes on disk of all pieces."""
        return sum(found.bytes for found in self._list())

    def _open(self, digest: Digest, size: int, *, create: bool) -> KeptBlob | None:
        path = os.path.join(self.directory, digest.replace(":", "-"))
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        with contextlib.ExitStack() as undo:
            try:
                # In a directory that others can write to, a file could have been put in our way.
                if not _is_private(self.directory):
                    return None
                fd = os.open(path, flags, 0o600)
                undo.callback(os.close, fd)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                journal_fd = os.open(path + _JOURNAL, flags | os.O_APPEND | os.O_CREAT, 0o600)
                undo.callback(os.close, journal_fd)
            except (FileNotFoundError, NotADirectoryError, BlockingIOError):
                return None
            if not os.fstat(fd).st_nlink:
                return None
            blob = KeptBlob(path, fd, journal_fd, size)
            undo.pop_all()
            return blob

    def _make_room(self, size: int) -> bool:
        """Whether a blob of this size may be kept, after what is old, or oldest, has gone."""
        self.clean()
        found = sorted(self._list(), key=lambda item: item.changed)
        used = sum(item.bytes for item in found)
        status = os.statvfs(self.directory)
        free = status.f_bavail * status.f_frsize - status.f_blocks * status.f_frsize * MIN_FREE_SHARE
        for item in found:
            if used + size <= self._max_bytes and size <= free:
                break
            if _remove(item.path):
                used -= item.bytes
                free += item.bytes
        return used + size <= self._max_bytes and size <= free

    def _list(self) -> Iterator[_Found]:
        try:
            names = os.listdir(self.directory)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            if not _NAME.fullmatch(name):
                continue
            path = os.path.join(self.directory, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode):
                    yield _Found(path, status.st_blocks * 512, status.st_mtime)


def _remove(path: str) -> bool:
    """Remove one blob's pieces unless they are in use."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in (path, path + _JOURNAL):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


def _is_private(directory: str) -> bool:
    status = os.lstat(directory)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _read_journal(fd: int, size: int) -> list[tuple[int, int]]:
    """The ranges noted. A line that a kill has cut short goes, so that the next one begins where it should."""
    data = os.pread(fd, _MAX_JOURNAL, 0)
    found: list[tuple[int, int]] = []
    position = 0
    while match := _LINE.match(data, position):
        position = match.end()
        start, end = int(match[1]), int(match[2])
        if start < end <= size:
            found.append((start, end))
    os.ftruncate(fd, position)
    return found
