"""Files that are either the old or the new one, never half of one, and reads that have an end."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator

from crio.base.errors import ResourceExhausted
from crio.base.failpoints import failpoint

log = logging.getLogger(__name__)

TEMPORARY = ".tmp-"
"""How the names of half-written files begin; the rest tells of whom they are."""


def write_atomic(path: str, data: bytes, *, mode: int = 0o600, durable: bool = False) -> None:
    """Replace `path` by a file with `data`: a reader, or a crash, sees the old or the new content and nothing between.

    `durable` also survives power loss: file and directory are fsync'ed, which costs milliseconds on a disk. The caller
    must not race with itself on one path. Raises OSError, and then leaves no temporary file; a process that is killed
    leaves one, for `remove_temporaries`.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f"{TEMPORARY}{name}-{os.urandom(4).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, mode)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        failpoint("files.write_atomic.before_rename")
        os.rename(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        raise
    if durable:
        sync_directory(directory)


def remove_temporaries(directory: str, name: str = "") -> None:
    """Remove what `write_atomic` has left in a directory, of the file `name` or of every one, when it was killed.

    Nobody may be writing there now. Fine if the directory does not exist. Raises OSError.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for entry in names:
        if entry.startswith(f"{TEMPORARY}{name}-" if name else TEMPORARY):
            os.unlink(os.path.join(directory, entry))


def write_new(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file that nobody reads before this returns; what was there is replaced. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def is_full(error: BaseException) -> bool:
    """Whether it says that a file system, or somebody's part of it, has no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def even_if_full(what: str) -> Iterator[None]:
    """Go on where `what` cannot be written for want of room: for what only makes a removal easier to take up again."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        log.warning("going on without %s: %s", what, error)


def sync_directory(path: str) -> None:
    """fsync a directory, so that renames and removals in it survive power loss."""
    fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_bounded(path: str, limit: int) -> bytes:
    """The file's content; ResourceExhausted if it is longer than `limit` bytes. OSError as open(2) and read(2)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return read_fd_bounded(fd, limit, path)
    finally:
        os.close(fd)


def read_fd_bounded(fd: int, limit: int, name: str) -> bytes:
    """As `read_bounded` for an open descriptor; `name` is for the message."""
    data = bytearray()
    while chunk := os.read(fd, min(1 << 20, limit + 1 - len(data))):
        data += chunk
        if len(data) > limit:
            raise ResourceExhausted(f"cannot read {name}: it is longer than {limit} bytes")
    return bytes(data)


def remove_directory(path: str, *, last: str) -> None:
    """Remove a directory with all that is in it; fine if it is not there. Raises OSError.

    The file `last` in it goes after everything else: a removal that is cut off leaves it, and can be taken up again.
    """
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return
    for name in names:
        if name != last:
            entry = os.path.join(path, name)
            if os.path.isdir(entry) and not os.path.islink(entry):
                shutil.rmtree(entry)
            else:
                os.unlink(entry)
    shutil.rmtree(path)
