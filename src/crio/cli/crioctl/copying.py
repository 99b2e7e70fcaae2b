"""Trees of files copied between the host and a running container's root.

Both ends are directory descriptors. On the container's side every path is resolved as its own processes would resolve
it, by the kernel (RESOLVE_IN_ROOT): no link in there can lead to a file of the host. Below the named file or directory
no link is followed on either side; links are copied as links.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable
from dataclasses import dataclass

from crio.base.errors import FailedPrecondition, InvalidArgument, NotFound
from crio.linux.openat2 import open_in_root

MAX_DEPTH = 200
_CHUNK = 1 << 20
_MODE = 0o7777


@dataclass(slots=True)
class Owner:
    """Who gets the copies: these ids, or the ids of the source if `keep`."""

    uid: int
    gid: int
    keep: bool = False


class Tree:
    """One end: a root directory, and how paths in it are named in messages. Close it."""

    def __init__(self, root: str, label: str) -> None:
        self.label = label
        try:
            self.fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise FailedPrecondition(f"cannot reach the files of {label}: {error.strerror}; does it run?") from None

    def name(self, path: str) -> str:
        return f"{self.label}:{path}" if self.label else path

    def open(self, path: str, flags: int) -> int:
        return open_in_root(self.fd, path, flags | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def container_owner(pid: int) -> Owner:
    """The host's ids of the container's root user."""
    ids = []
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
            mapping = [[int(part) for part in line.split()] for line in file]
        ids.append(next((outside for inside, outside, _ in mapping if inside == 0), 0))
    return Owner(ids[0], ids[1])


def copy(source: Tree, path: str, target: Tree, destination: str, owner: Owner, warn: Callable[[str], None]) -> None:
    """Copy the file or directory `path`. An existing directory as destination gets it under its own name.

    What is neither file, directory nor link is left out, with a warning. Raises NotFound, InvalidArgument, OSError.
    """
    try:
        parent = source.open(posixpath.dirname(path.rstrip("/")) or "/", os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise NotFound(f"cannot copy {source.name(path)}: {error.strerror}") from None
    try:
        base = posixpath.basename(path.rstrip("/"))
        if base in ("", ".", ".."):
            os.close(parent)
            parent, base = source.open(path, os.O_PATH | os.O_DIRECTORY), "."
        directory, name = _destination(target, destination, base)
        try:
            _copy_entry(parent, base, directory, name, owner, warn, source.name(path), 0)
        finally:
            os.close(directory)
    except OSError as error:
        raise _explained(error, source.name(path), target.name(destination)) from None
    finally:
        os.close(parent)


def _destination(target: Tree, path: str, base: str) -> tuple[int, str]:
    """The directory that gets the copy, and the copy's name in it."""
    try:
        directory = target.open(path, os.O_PATH | os.O_DIRECTORY)
        return directory, base
    except NotADirectoryError:
        if path.endswith("/"):
            raise InvalidArgument(f"cannot copy to {target.name(path)}: it is no directory") from None
    except FileNotFoundError:
        pass
    name = posixpath.basename(path.rstrip("/"))
    parent = posixpath.dirname(path.rstrip("/")) or "/"
    try:
        return target.open(parent, os.O_PATH | os.O_DIRECTORY), name
    except OSError as error:
        raise NotFound(f"cannot copy to {target.name(path)}: {target.name(parent)}: {error.strerror}") from None


def _explained(error: OSError, source: str, destination: str) -> NotFound | InvalidArgument | OSError:
    if error.errno == errno.ENOENT:
        return NotFound(f"cannot copy {source}: no such file or directory")
    if error.errno in (errno.EISDIR, errno.ENOTDIR):
        return InvalidArgument(f"cannot copy {source} to {destination}: one is a directory and the other is not")
    return OSError(error.errno, f"cannot copy {source} to {destination}: {error.strerror}")


def _copy_entry(
    source: int,
    name: str,
    target: int,
    new_name: str,
    owner: Owner,
    warn: Callable[[str], None],
    shown: str,
    depth: int,
) -> None:
    if depth > MAX_DEPTH:
        raise InvalidArgument(f"cannot copy {shown}: more than {MAX_DEPTH} directories within each other")
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    ids = (status.st_uid, status.st_gid) if owner.keep else (owner.uid, owner.gid)
    if stat.S_ISDIR(status.st_mode):
        _copy_directory(source, name, target, new_name, owner, warn, shown, depth)
    elif stat.S_ISREG(status.st_mode):
        _copy_file(source, name, target, new_name, status, ids)
    elif stat.S_ISLNK(status.st_mode):
        if depth == 0:
            # A link that is named itself means the file it leads to, as with cp; but only beside it.
            raise InvalidArgument(f"cannot copy {shown}: it is a symbolic link; name the file it leads to")
        link = os.readlink(name, dir_fd=source)
        try:
            os.unlink(new_name, dir_fd=target)
        except FileNotFoundError:
            pass
        os.symlink(link, new_name, dir_fd=target)
        os.chown(new_name, *ids, dir_fd=target, follow_symlinks=False)
    else:
        warn(f"{shown} is left out: it is a {_kind(status.st_mode)}")


def _copy_directory(
    source: int,
    name: str,
    target: int,
    new_name: str,
    owner: Owner,
    warn: Callable[[str], None],
    shown: str,
    depth: int,
) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    inside = os.open(name, flags, dir_fd=source)
    try:
        status = os.fstat(inside)
        made = True
        try:
            os.mkdir(new_name, 0o700, dir_fd=target)
        except FileExistsError:
            made = False
        copy_of = os.open(new_name, flags, dir_fd=target)
        try:
            for entry in sorted(os.listdir(inside)):
                _copy_entry(inside, entry, copy_of, entry, owner, warn, f"{shown.rstrip('/')}/{entry}", depth + 1)
            if made:
                os.fchown(copy_of, *((status.st_uid, status.st_gid) if owner.keep else (owner.uid, owner.gid)))
                os.fchmod(copy_of, status.st_mode & _MODE)
                os.utime(copy_of, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(copy_of)
    finally:
        os.close(inside)


def _copy_file(
    source: int, name: str, target: int, new_name: str, status: os.stat_result, ids: tuple[int, int]
) -> None:
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        writing = _open_target(target, new_name)
        try:
            # Not through the copy's name any more: somebody in the container may exchange it.
            while data := os.read(reading, _CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(writing, view) :]
            os.fchown(writing, *ids)
            os.fchmod(writing, status.st_mode & _MODE)
            os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _open_target(target: int, name: str) -> int:
    """The file to write; an existing one keeps its inode (it may be mounted), a link in its place is replaced."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, 0o600, dir_fd=target)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        os.unlink(name, dir_fd=target)
        fd = os.open(name, flags | os.O_EXCL, 0o600, dir_fd=target)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "the destination is no regular file")
    os.ftruncate(fd, 0)
    return fd


def _kind(mode: int) -> str:
    return {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}.get(
        stat.S_IFMT(mode), "special file"
    )
