"""The store's lock files: who may write, and whether anybody has written since one last looked.

podman, buildah, skopeo and CRI-O take POSIX record locks on these files. Open-file-description locks conflict with
those in the same way but belong to the descriptor, so that closing another descriptor of the file does not drop them
and threads of one process exclude each other (with the mutex here, as they share the descriptor).
The first 64 bytes of the file are a token that every writer replaces by a new unique one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import struct
import threading
import time
from collections.abc import Iterator

from crio.base.errors import Unavailable
from crio.base.failpoints import failpoint

TOKEN_SIZE = 64

_OFD_GETLK, _OFD_SETLK = 36, 37
_FLOCK = struct.Struct("hhqqi4x")
_counter = itertools.count(1)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.02


class LockFile:
    """One lock file, opened for as long as the store is. Taking it again in the thread that holds it is allowed."""

    def __init__(self, path: str, *, read_only: bool = False, timeout: float = 600.0) -> None:
        """Opens the file and creates it if need be. `timeout` in seconds is how long to wait for other processes:
        older podman holds the layers' lock while it unpacks, which may take minutes. Raises OSError.
        """
        flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CREAT | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o644)
        except OSError as error:
            if not read_only or error.errno != errno.EROFS:
                raise
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.path = path
        self._read_only = read_only
        self._timeout = timeout
        self._mutex = threading.RLock()
        self._depth = 0
        self._writing = False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        """Hold the lock shared with other processes. Keep it for milliseconds: others wait to write."""
        yield from self._hold(fcntl.F_RDLCK)

    @contextlib.contextmanager
    def try_read(self) -> Iterator[bool]:
        """As `read` without waiting for anybody; whether it is held."""
        if not self._mutex.acquire(blocking=False):
            yield False
            return
        try:
            if self._depth == 0 and not self._set(fcntl.F_RDLCK):
                yield False
                return
            self._depth += 1
            try:
                yield True
            finally:
                self._leave()
        finally:
            self._mutex.release()

    @contextlib.contextmanager
    def write(self) -> Iterator[None]:
        """Hold the lock alone."""
        yield from self._hold(fcntl.F_WRLCK)

    @property
    def writing(self) -> bool:
        """Whether this process holds it for writing; meaningful to the thread that holds it."""
        return self._writing

    def token(self) -> bytes:
        """The last writer's token; needs no lock. A reader takes it before it reads what it guards."""
        return os.pread(self._fd, TOKEN_SIZE, 0)

    def touch(self) -> bytes:
        """Announce a change: to be called with the lock held for writing, before the new file is renamed into place."""
        token = struct.pack("<QQI", time.time_ns(), next(_counter), os.getpid())
        token += os.urandom(TOKEN_SIZE - len(token))
        os.pwrite(self._fd, token, 0)
        failpoint("storage.lock.touched")
        return token

    def _hold(self, kind: int) -> Iterator[None]:
        if not self._mutex.acquire(timeout=self._timeout):
            raise Unavailable(f"cannot lock {self.path}: another operation of this process holds it for too long")
        try:
            if self._depth == 0:
                self._acquire(kind)
                self._writing = kind == fcntl.F_WRLCK
            elif kind == fcntl.F_WRLCK and not self._writing:
                raise AssertionError(f"{self.path} is held for reading and cannot become a write lock")
            self._depth += 1
            try:
                yield
            finally:
                self._leave()
        finally:
            self._mutex.release()

    def _leave(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._writing = False
            self._set(fcntl.F_UNLCK)

    def _acquire(self, kind: int) -> None:
        deadline, pause = 0.0, _FIRST_PAUSE
        while not self._set(kind):
            now = time.monotonic()
            if not deadline:
                deadline = now + self._timeout
            elif now > deadline:
                raise Unavailable(f"cannot lock {self.path}: {self._holder(kind)} holds it for {self._timeout:g} s")
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _set(self, kind: int) -> bool:
        try:
            fcntl.fcntl(self._fd, _OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            if self._read_only and error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):
                # A network file system without locks: its store is read as it is.
                return True
            raise
        return True

    def _holder(self, kind: int) -> str:
        answer = fcntl.fcntl(self._fd, _OFD_GETLK, _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
        pid = _FLOCK.unpack(answer)[4]
        return f"process {pid}" if pid > 0 else "another process"
