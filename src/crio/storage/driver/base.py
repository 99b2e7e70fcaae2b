"""What the store asks of a driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from crio.storage.idmaps import IdMaps


class MountOptions(msgspec.Struct, frozen=True):
    options: Sequence[str] | None = None
    """As in a container's record; None means those of storage.conf."""
    label: str = ""
    """SELinux label of everything in the mount, "" for none."""
    volatile: bool = False
    """The content need not survive a crash of the machine: writing may skip every sync."""
    read_only: bool = False
    id_maps: IdMaps | None = None
    """Show the layers below with the owners of a user namespace; only where the driver `shifts_ids`."""


class Driver(Protocol):
    name: str
    home: str
    """Directory of this driver in the writable store."""
    writable_homes: Sequence[str]
    """`home`, and the image layers' directory if they are kept apart."""
    layers_apart: bool
    """Whether a layer's directory holds only what the layer brought, and not what lies below it."""
    native_whiteouts: bool
    """Whether deletions are stored as the kernel's marks; else the `.wh.` files stay as they are."""

    def prepare(self) -> None:
        """Make the driver's directories and check that the kernel can do it. Once per process, before anything else."""

    def attach_home(self) -> None:
        """Keep the mounts to come out of other mount namespaces. Only while no layer is mounted, and idempotent:
        other tools undo it when they end.
        """

    def release_home(self) -> None:
        """Undo `attach_home`. Only while no layer is mounted; nothing to undo is no error."""

    def shifts_ids(self) -> bool:
        """Whether `mount` can map owners. The first answer tries it, which takes a few milliseconds."""

    def exists(self, id: str) -> bool: ...

    def is_whole(self, id: str) -> bool:
        """Whether everything is there that a layer needs to be mounted; files in it are not looked at."""

    def rebase(self, id: str, parent: str) -> None:
        """Make a layer stand on its parent again, whose directory was made anew. Parents come before children."""

    def create(
        self, id: str, parent: str | None, *, staged: str | None, image: bool, discard: Callable[[str], None]
    ) -> None:
        """Make a layer's directory. `staged`, a directory with its content on the same file system, is moved in.

        `image` layers may live in another place than containers' (imagestore). Leftovers of the same id go to
        `discard` first. A failure may leave parts; `remove` takes them away.
        """

    def sync(self, id: str) -> None:
        """Bring onto the disk what `create` did itself; the content that was moved in is there already."""

    def limit(self, id: str, size: int | None, inodes: int | None) -> None:
        """Limit what a container can write to `size` bytes and `inodes` files, None for no limit; before it is mounted.

        Raises InvalidArgument or FailedPrecondition, saying what is missing, where that cannot be.
        """

    def remove(self, id: str, discard: Callable[[str], None]) -> None:
        """Take a layer away; its directory is handed to `discard`, which moves and later deletes it."""

    def mount(self, id: str, options: MountOptions) -> str:
        """Mount a layer over its parents, and return where. The same place each time."""

    def unmount(self, id: str) -> None:
        """A layer that is not mounted is no error."""

    def is_mounted(self, id: str) -> bool: ...

    def own_directories(self, id: str) -> list[str]:
        """Where the files that this layer brought can be read, most recent first. Raises NotFound."""

    def writable_directory(self, id: str) -> str:
        """What a container has written lies below it."""

    def layer_ids(self) -> Iterable[str]:
        """Names of all layers in the writable places, with or without a record."""

    def repair_links(self) -> int:
        """Mend what short names lead to nothing; the number of changes."""
