"""What drivers have in common whose layers hold everything below them: they need no mounts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from crio.base.errors import NotFound
from crio.linux.sync import syncfs
from crio.storage.driver.base import MountOptions


class WholeLayers:
    """Each layer is one directory in the folder `folder` of a home. For drivers to inherit from."""

    folder: str
    noun: str
    """What a layer's directory is called in messages."""
    layers_apart = False
    native_whiteouts = True

    def __init__(self, home: str, *, image_home: str | None = None, other_homes: Sequence[str] = ()) -> None:
        self.home = home
        self._image_home = image_home or home
        self.writable_homes: Sequence[str] = list(dict.fromkeys((home, self._image_home)))
        self._homes = list(dict.fromkeys((*self.writable_homes, *other_homes)))

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

    def sync(self, id: str) -> None:
        fd = os.open(self._require(id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            os.close(fd)

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
            yield from os.listdir(os.path.join(home, self.folder))

    def repair_links(self) -> int:
        return 0

    def _find(self, id: str) -> str | None:
        places = (os.path.join(home, self.folder, id) for home in self._homes)
        return next(filter(os.path.isdir, places), None)

    def _require(self, id: str) -> str:
        place = self._find(id)
        if place is None:
            raise NotFound(f"cannot use layer {id}: its {self.noun} is gone; check and repair the store")
        return place
