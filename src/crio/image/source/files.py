"""The files of a directory or of a tar archive, read alike and without unpacking the archive."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Generator, Mapping
from typing import Protocol

import msgspec

from crio.base.errors import InvalidArgument, NotFound, ResourceExhausted
from crio.base.files import read_fd_bounded
from crio.image.compression import MAGIC_LENGTH, Compression, detect, expander
from crio.image.errors import BadImage

CHUNK = 256 << 10
_MAX_MEMBERS = 100_000
_MAX_LINKS = 8


class Files(Protocol):
    """Named byte sequences. Usable by several threads."""

    @property
    def origin(self) -> str:
        """The path that it all comes from, for messages."""

    def exists(self, name: str) -> bool: ...

    def read(self, name: str, limit: int) -> bytes:
        """Raises NotFound, BadImage if it is longer than `limit`."""

    def size(self, name: str) -> int: ...

    def stream(self, name: str) -> Generator[bytes, None, None]: ...

    def close(self) -> None: ...


class DirectoryFiles:
    """Files below a directory. Symlinks are not followed in the last component, and names must not climb."""

    def __init__(self, directory: str) -> None:
        self.origin = directory

    def exists(self, name: str) -> bool:
        try:
            return stat.S_ISREG(os.lstat(self._path(name)).st_mode)
        except OSError:
            return False

    def read(self, name: str, limit: int) -> bytes:
        fd = self._open(name)
        try:
            return read_fd_bounded(fd, limit, name)
        except ResourceExhausted as error:
            raise BadImage(f"cannot use {self.origin}: {error.message}") from None
        finally:
            os.close(fd)

    def size(self, name: str) -> int:
        fd = self._open(name)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def stream(self, name: str) -> Generator[bytes, None, None]:
        fd = self._open(name)
        try:
            while chunk := os.read(fd, CHUNK):
                yield chunk
        finally:
            os.close(fd)

    def close(self) -> None:
        pass

    def _open(self, name: str) -> int:
        try:
            return os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"cannot find {name} in {self.origin}") from None

    def _path(self, name: str) -> str:
        if name.startswith("/") or ".." in name.split("/"):
            raise BadImage(f"cannot use {self.origin}: it names the file {name[:200]!r} outside itself")
        return os.path.join(self.origin, name)


class _Member(msgspec.Struct, frozen=True):
    offset: int
    size: int


class ArchiveFiles:
    """Members of an uncompressed tar file, read in place. Links between members are followed."""

    def __init__(self, fd: int, origin: str) -> None:
        """Reads the archive's headers once. Owns `fd`. Raises BadImage if it is no tar archive."""
        self.origin = origin
        self._fd = fd
        try:
            self._members, self._links = _index(fd, origin)
        except BaseException:
            os.close(fd)
            raise

    def exists(self, name: str) -> bool:
        return self._resolve(name) is not None

    def read(self, name: str, limit: int) -> bytes:
        member = self._member(name)
        if member.size > limit:
            raise BadImage(f"cannot use {self.origin}: {name} is longer than {limit} bytes")
        return b"".join(self.stream(name))

    def size(self, name: str) -> int:
        return self._member(name).size

    def stream(self, name: str) -> Generator[bytes, None, None]:
        member = self._member(name)
        position, end = member.offset, member.offset + member.size
        while position < end:
            chunk = os.pread(self._fd, min(CHUNK, end - position), position)
            if not chunk:
                raise BadImage(f"cannot use {self.origin}: it ends inside {name}")
            position += len(chunk)
            yield chunk

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _member(self, name: str) -> _Member:
        member = self._resolve(name)
        if member is None:
            raise NotFound(f"cannot find {name[:200]} in {self.origin}")
        return member

    def _resolve(self, name: str) -> _Member | None:
        for _ in range(_MAX_LINKS):
            if member := self._members.get(name):
                return member
            target = self._links.get(name)
            if target is None:
                return None
            name = target
        return None


def open_files(path: str, temporary_directory: str) -> Files:
    """The files at `path`: a directory, a tar archive, or a compressed one, which is expanded into a file without name.

    Raises NotFound, InvalidArgument, BadImage.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"cannot load {path}: no such file") from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        os.close(fd)
        return DirectoryFiles(path)
    if not stat.S_ISREG(mode):
        os.close(fd)
        raise InvalidArgument(f"cannot load {path}: it is neither a file nor a directory")
    compression = detect(os.pread(fd, MAGIC_LENGTH, 0))
    if compression is Compression.NONE:
        return ArchiveFiles(fd, path)
    try:
        expanded = _expand(fd, compression, temporary_directory)
    finally:
        os.close(fd)
    return ArchiveFiles(expanded, path)


def _expand(fd: int, compression: Compression, directory: str) -> int:
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        expand = expander(compression)
        while chunk := os.read(fd, CHUNK):
            for piece in expand.feed(chunk):
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) or 0 :]
        expand.finish()
        return os.dup(file.fileno())


def _index(fd: int, origin: str) -> tuple[Mapping[str, _Member], Mapping[str, str]]:
    # lazy: only loading needs it
    import tarfile

    members: dict[str, _Member] = {}
    links: dict[str, str] = {}
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        with os.fdopen(os.dup(fd), "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                name = _clean(info.name)
                if info.isreg():
                    members[name] = _Member(info.offset_data, info.size)
                elif info.issym():
                    links[name] = _clean(os.path.join(os.path.dirname(name), info.linkname))
                elif info.islnk():
                    links[name] = _clean(info.linkname)
                if len(members) + len(links) > _MAX_MEMBERS:
                    raise BadImage(f"cannot use {origin}: it has more than {_MAX_MEMBERS} members")
                archive.members.clear()  # type: ignore[attr-defined, unused-ignore]
    except (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError) as error:
        raise BadImage(f"cannot use {origin}: it is not a tar archive: {error}") from None
    return members, links


def _clean(name: str) -> str:
    return os.path.normpath("/" + name).lstrip("/")
