"""The btrfs driver: every layer is a subvolume, made as a snapshot of its parent's.

Blocks are shared, deletion is instant, and a container's limit is that of its subvolume's quota group. What a layer
brings is put over the snapshot by sharing blocks too, file by file, when the layer is committed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence

from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.linux import btrfs
from crio.storage.driver.merge import clear, copy_over, drop_marks, is_opaque, is_whiteout
from crio.storage.driver.whole import WholeLayers
from crio.storage.options import parse_size


class BtrfsDriver(WholeLayers):
    name = "btrfs"
    folder = "subvolumes"
    noun = "subvolume"

    def __init__(
        self,
        home: str,
        *,
        image_home: str | None = None,
        other_homes: Sequence[str] = (),
        size: int | None = None,
        min_space: str = "",
    ) -> None:
        """`size` limits what a container may write, `min_space` is the least limit that is taken."""
        super().__init__(home, image_home=image_home, other_homes=other_homes)
        self._size = size
        self._min_space = parse_size(min_space, "min_space") if min_space else 0
        self._counts = False

    def prepare(self) -> None:
        if self._image_home != self.home:
            raise InvalidArgument(
                "cannot keep images apart with the driver btrfs: a snapshot cannot leave its file system; "
                "remove imagestore, or use overlay"
            )
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        if not btrfs.is_btrfs(self.home):
            raise FailedPrecondition(
                f"cannot use the storage driver btrfs: {self.home} is not on a btrfs file system; use overlay"
            )
        os.makedirs(os.path.join(self.home, self.folder), mode=0o700, exist_ok=True)
        if self._size:
            self._check_size(self._size)
            self._count()

    def create(
        self, id: str, parent: str | None, *, staged: str | None, image: bool, discard: Callable[[str], None]
    ) -> None:
        below = None if parent is None else self._require(parent)
        self.remove(id, discard)
        place = self._place(id)
        if below is None:
            btrfs.create_subvolume(place)
            mode, owner = 0o555, (0, 0)
        else:
            status = os.stat(below)
            mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
            try:
                btrfs.snapshot(below, place)
            except OSError as error:
                raise FailedPrecondition(
                    f"cannot put a layer on {below}: {error.strerror}; "
                    f"read-only stores on another file system need overlay"
                ) from None
        if staged is not None:
            if below is None:
                drop_marks(staged)
            else:
                _clear_hidden(staged, place)
            copy_over(staged, place)
        os.chown(place, *owner)
        os.chmod(place, mode)
        if not image and self._size:
            self.limit(id, self._size, None)

    def limit(self, id: str, size: int | None, inodes: int | None) -> None:
        if inodes:
            raise InvalidArgument("cannot limit the number of files of a container: btrfs only counts bytes")
        if size is not None:
            self._check_size(size)
        self._count()
        btrfs.limit_exclusive(self._require(id), size)

    def remove(self, id: str, discard: Callable[[str], None]) -> None:
        place = self._place(id)
        if not os.path.lexists(place):
            return
        if btrfs.is_subvolume(place):
            number = btrfs.subvolume_id(place)
            try:
                btrfs.destroy_subvolume(place)
            except OSError:
                # A container has made subvolumes of its own in it.
                discard(place)
            with contextlib.suppress(OSError):
                btrfs.remove_quota_group(self.home, number)
        else:
            discard(place)

    def _check_size(self, size: int) -> None:
        if size < self._min_space:
            raise InvalidArgument(
                f"cannot limit a container to {size} bytes: min_space of storage.conf is {self._min_space}"
            )

    def _count(self) -> None:
        if not self._counts:
            btrfs.enable_quota(self.home)
            self._counts = True

    def _place(self, id: str) -> str:
        return os.path.join(self.home, self.folder, id)


def _clear_hidden(staged: str, place: str) -> None:
    """Take from `place` what the layer in `staged` deletes or replaces by something of another kind, and its marks."""
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        with os.scandir(os.path.join(staged, inner)) as entries:
            children = list(entries)
        for entry in children:
            name = os.path.join(inner, entry.name)
            target = os.path.join(place, name)
            status = entry.stat(follow_symlinks=False)
            if is_whiteout(status):
                clear(target)
                os.unlink(entry.path)
            elif stat.S_ISDIR(status.st_mode):
                if is_opaque(entry.path) or not os.path.isdir(target) or os.path.islink(target):
                    clear(target)
                waiting.append(name)
            elif os.path.isdir(target) and not os.path.islink(target):
                clear(target)
    drop_marks(staged)
