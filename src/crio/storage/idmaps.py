"""Root file systems for user namespaces: the maps, and the slow way to apply them.

Where kernel and file system can, the layers are mounted with other owners (`Driver.shifts_ids`) and nothing is copied.
Where they cannot, `shift_tree` changes the owners in the container's own layer, which copies what it touches.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import struct
from collections.abc import Sequence

import msgspec

from crio.base.errors import InvalidArgument
from crio.storage.records import IdMapEntry

log = logging.getLogger(__name__)

_CAPABILITY = "security.capability"
_CAP_REVISION_MASK, _CAP_REVISION_2, _CAP_REVISION_3 = 0xFF000000, 0x02000000, 0x03000000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 512
_OVERFLOW = 65534


class IdMaps(msgspec.Struct, frozen=True):
    """How ids in a container become ids of the host."""

    uids: Sequence[IdMapEntry]
    gids: Sequence[IdMapEntry]

    def check(self) -> IdMaps:
        """These maps if root has a place in them, without which nothing can be mounted; else InvalidArgument."""
        for kind, entries in (("user", self.uids), ("group", self.gids)):
            if _host_id(entries, 0) is None:
                raise InvalidArgument(f"cannot map {kind} ids of a container: the map has no entry for id 0")
        return self

    @property
    def root(self) -> tuple[int, int]:
        """The host's ids of the container's root."""
        return self.owner(0, 0)

    def owner(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's ids of a file's owner and group; what has no place in the maps belongs to nobody (65534)."""
        host_uid, host_gid = _host_id(self.uids, uid), _host_id(self.gids, gid)
        return (_OVERFLOW if host_uid is None else host_uid, _OVERFLOW if host_gid is None else host_gid)


def lines(entries: Sequence[IdMapEntry]) -> list[tuple[int, int, int]]:
    """The map as user_namespaces(7) has it."""
    return [(entry.container_id, entry.host_id, entry.size) for entry in entries]


def shift_tree(path: str, maps: IdMaps) -> None:
    """Change the owners of everything below `path`, itself included, from a container's ids to the host's.

    Modes and file capabilities stay what they mean. Nobody else may change the tree meanwhile; on failure it is
    half-shifted and of no use. Follows no links and enters no mounts. Raises OSError.
    """
    root = os.open(path, _DIRECTORY)
    try:
        status = os.fstat(root)
        _Shift(maps, status.st_dev).directory(root, 0)
        os.fchown(root, *maps.owner(status.st_uid, status.st_gid))
        os.fchmod(root, stat.S_IMODE(status.st_mode))
    finally:
        os.close(root)


def give(directory: str, maps: IdMaps) -> None:
    """Change the owner of one directory as `shift_tree` would."""
    status = os.stat(directory)
    os.chown(directory, *maps.owner(status.st_uid, status.st_gid))
    os.chmod(directory, stat.S_IMODE(status.st_mode))


def let_in(path: str, top: str) -> None:
    """Let the root of a user namespace, whom the host does not trust, pass from `top` to `path`, and nowhere else.

    Nothing is changed for a path that is not below `top`.
    """
    directory = os.path.dirname(path)
    while (directory + "/").startswith(os.path.join(top, "")):
        mode = stat.S_IMODE(os.stat(directory).st_mode)
        if not mode & stat.S_IXOTH:
            os.chmod(directory, mode | stat.S_IXOTH)
        directory = os.path.dirname(directory)


class _Shift:
    def __init__(self, maps: IdMaps, device: int) -> None:
        self._maps = maps
        self._device = device
        self._done: dict[tuple[int, int], tuple[int, int]] = {}

    def directory(self, fd: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, "the tree is too deep to change its owners")
        for name in os.listdir(fd):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                child = os.open(name, _DIRECTORY, dir_fd=fd)
                try:
                    if os.fstat(child).st_dev == self._device:
                        self.directory(child, depth + 1)
                finally:
                    os.close(child)
            self._entry(fd, name, status)

    def _entry(self, fd: int, name: str, status: os.stat_result) -> None:
        owner = (status.st_uid, status.st_gid)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            # In an overlay the names of one file part when it is copied up: only what it is now tells.
            key = (status.st_dev, status.st_ino)
            if self._done.get(key) == owner:
                return
            self._done[key] = self._maps.owner(*owner)
        capability = _capability(fd, name) if stat.S_ISREG(status.st_mode) else None
        try:
            os.chown(name, *self._maps.owner(*owner), dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            # fuse-overlayfs cannot copy up pipes; nobody can use one of an image anyway.
            if error.errno != errno.EIO or not stat.S_ISFIFO(status.st_mode):
                raise
            log.debug("the pipe %s of an image keeps its owner: %s", name, error)
            return
        if not stat.S_ISLNK(status.st_mode):
            # chown(2) takes the set-id bits and the capabilities away.
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=fd)
        if capability is not None:
            os.setxattr(f"/proc/self/fd/{fd}/{name}", _CAPABILITY, self._shifted(capability), follow_symlinks=False)

    def _shifted(self, capability: bytes) -> bytes:
        """File capabilities hold for the user namespaces of one root: here that of the maps (capabilities(7))."""
        (magic,) = struct.unpack_from("<I", capability)
        if magic & _CAP_REVISION_MASK != _CAP_REVISION_2 or len(capability) != 20:
            return capability
        magic = magic & ~_CAP_REVISION_MASK | _CAP_REVISION_3
        return struct.pack("<I", magic) + capability[4:] + struct.pack("<I", self._maps.root[0])


def _capability(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(f"/proc/self/fd/{fd}/{name}", _CAPABILITY, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def _host_id(entries: Sequence[IdMapEntry], id: int) -> int | None:
    for entry in entries:
        if entry.container_id <= id < entry.container_id + entry.size:
            return entry.host_id + id - entry.container_id
    return None
