"""The vfs driver: every layer is a full copy of its parent with its own files put over it.

Works on any file system and needs no mounts; takes much space unless the file system can share blocks (reflinks on xfs
and btrfs are used). For tests, and for kernels or file systems without overlay.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence

from crio.base.errors import InvalidArgument, NotFound
from crio.linux.overlay import OPAQUE
from crio.linux.sync import syncfs
from crio.storage.deletion import delete_tree
from crio.storage.driver.base import MountOptions
from crio.storage.driver.merge import copy_tree, drop_marks, is_opaque, is_whiteout


class VfsDriver:
    name = "vfs"
    layers_apart = False
    native_whiteouts = True

    def __init__(self, home: str, *, image_home: str | None = None, other_homes: Sequence[str] = ()) -> None:
        self.home = home
        self._image_home = image_home or home
        self.writable_homes: Sequence[str] = list(dict.fromkeys((home, self._image_home)))
        self._homes = list(dict.fromkeys((*self.writable_homes, *other_homes)))

    def prepare(self) -> None:
        for home in self.writable_homes:
            os.makedirs(os.path.join(home, "dir"), mode=0o700, exist_ok=True)

    def attach_home(self) -> None:
        """Nothing is ever mounted."""

    def release_home(self) -> None:
        """Nothing is ever mounted."""

    def shifts_ids(self) -> bool:
        return False

    def exists(self, id: str) -> bool:
        return self._find(id) is not None

    def is_whole(self, id: str) -> bool:
        return self.exists(id)

    def rebase(self, id: str, parent: str) -> None:
        """A layer holds everything below it."""

    def create(
        self, id: str, parent: str | None, *, staged: str | None, image: bool, discard: Callable[[str], None]
    ) -> None:
        below = None if parent is None else self._require(parent)
        self.remove(id, discard)
        place = os.path.join(self._image_home if image else self.home, "dir", id)
        if below is None:
            if staged is None:
                os.mkdir(place, 0o555)
            else:
                os.rename(staged, place)
                drop_marks(place)
            os.chmod(place, 0o555)
            return
        os.mkdir(place, 0o700)
        copy_tree(below, place)
        if staged is not None:
            _merge(staged, place)
        status = os.stat(below)
        os.chown(place, status.st_uid, status.st_gid)
        os.chmod(place, stat.S_IMODE(status.st_mode))

    def sync(self, id: str) -> None:
        fd = os.open(self._require(id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            os.close(fd)

    def limit(self, id: str, size: int | None, inodes: int | None) -> None:
        if size is not None or inodes is not None:
            raise InvalidArgument(
                "cannot limit the size of a container: the storage driver vfs has no quotas; use overlay"
            )

    def remove(self, id: str, discard: Callable[[str], None]) -> None:
        for home in self.writable_homes:
            place = os.path.join(home, "dir", id)
            if os.path.lexists(place):
                discard(place)

    def mount(self, id: str, options: MountOptions) -> str:
        return self._require(id)

    def unmount(self, id: str) -> None:
        """Nothing is ever mounted."""

    def is_mounted(self, id: str) -> bool:
        return self.exists(id)

    def own_directories(self, id: str) -> list[str]:
        return [self._require(id)]

    def writable_directory(self, id: str) -> str:
        return self._require(id)

    def layer_ids(self) -> Iterable[str]:
        for home in self.writable_homes:
            yield from os.listdir(os.path.join(home, "dir"))

    def repair_links(self) -> int:
        return 0

    def _find(self, id: str) -> str | None:
        return next((path for home in self._homes if os.path.isdir(path := os.path.join(home, "dir", id))), None)

    def _require(self, id: str) -> str:
        place = self._find(id)
        if place is None:
            raise NotFound(f"cannot use layer {id}: its directory is gone; check and repair the store")
        return place


def _merge(source: str, target: str) -> None:
    """Put the tree `source`, with overlay marks of deletion, over `target`. Nobody else knows of either yet."""
    with os.scandir(source) as entries:
        children = list(entries)
    for entry in children:
        status = entry.stat(follow_symlinks=False)
        path = os.path.join(target, entry.name)
        if is_whiteout(status):
            _clear(path)
        elif stat.S_ISDIR(status.st_mode):
            if is_opaque(entry.path) or not os.path.isdir(path) or os.path.islink(path):
                _clear(path)
                os.mkdir(path, 0o700)
            _merge(entry.path, path)
            _copy_metadata(entry.path, path, status)
        else:
            _clear(path)
            os.rename(entry.path, path)


def _copy_metadata(source: str, target: str, status: os.stat_result) -> None:
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if name != OPAQUE:
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _clear(path: str) -> None:
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            delete_tree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass
