"""The vfs driver: every layer is a full copy of its parent with its own files put over it.

Works on any file system and needs no mounts; takes much space unless the file system can share blocks (reflinks on xfs
and btrfs are used). For tests, and for kernels or file systems without overlay.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from crio.base.errors import InvalidArgument
from crio.linux.overlay import OPAQUE
from crio.storage.driver.merge import clear, copy_tree, drop_marks, is_opaque, is_whiteout
from crio.storage.driver.whole import WholeLayers


class VfsDriver(WholeLayers):
    name = "vfs"
    folder = "dir"
    noun = "directory"

    def prepare(self) -> None:
        for home in self.writable_homes:
            os.makedirs(os.path.join(home, self.folder), mode=0o700, exist_ok=True)

    def create(
        self, id: str, parent: str | None, *, staged: str | None, image: bool, discard: Callable[[str], None]
    ) -> None:
        below = None if parent is None else self._require(parent)
        self.remove(id, discard)
        place = os.path.join(self._image_home if image else self.home, self.folder, id)
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

    def limit(self, id: str, size: int | None, inodes: int | None) -> None:
        if size is not None or inodes is not None:
            raise InvalidArgument(
                "cannot limit the size of a container: the storage driver vfs has no quotas; use overlay"
            )

    def remove(self, id: str, discard: Callable[[str], None]) -> None:
        for home in self.writable_homes:
            place = os.path.join(home, self.folder, id)
            if os.path.lexists(place):
                discard(place)


def _merge(source: str, target: str) -> None:
    """Put the tree `source`, with overlay marks of deletion, over `target`. Nobody else knows of either yet."""
    with os.scandir(source) as entries:
        children = list(entries)
    for entry in children:
        status = entry.stat(follow_symlinks=False)
        path = os.path.join(target, entry.name)
        if is_whiteout(status):
            clear(path)
        elif stat.S_ISDIR(status.st_mode):
            if is_opaque(entry.path) or not os.path.isdir(path) or os.path.islink(path):
                clear(path)
                os.mkdir(path, 0o700)
            _merge(entry.path, path)
            _copy_metadata(entry.path, path, status)
        else:
            clear(path)
            os.rename(entry.path, path)


def _copy_metadata(source: str, target: str, status: os.stat_result) -> None:
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if name != OPAQUE:
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
