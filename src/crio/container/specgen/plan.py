"""What `build_spec` returns: the specification, and all that has to happen for it, as data."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.container.record import ContainerUser
from crio.container.specgen.stop_signal import StopSignal
from crio.spec.oci_runtime import IdMapping, Spec

MAPPED_VOLUMES = "volumes"
"""Directory in a container's own where volumes with mapped owners are mounted."""


class MakeDirectory(msgspec.Struct, frozen=True):
    """A directory in the container's root, with missing parents; fine if it is there."""

    path: str
    mode: int = 0o755
    uid: int = -1
    gid: int = -1
    """Owner of what is made; -1 is the daemon's."""


class MakeLink(msgspec.Struct, frozen=True):
    """A symlink in the container's root; whatever is there already stays."""

    path: str
    target: str
    replace: bool = False
    """Remove a file or link that is there."""


class RemoveFile(msgspec.Struct, frozen=True):
    """A file or link in the container's root goes; fine if it is not there."""

    path: str


class WriteFile(msgspec.Struct, frozen=True):
    """A file in the container's directory on the host, to be mounted into it."""

    path: str
    data: bytes
    mode: int = 0o644
    uid: int = -1
    gid: int = -1


class MakeHostDirectory(msgspec.Struct, frozen=True):
    """A directory on the host, with missing parents, because a mount's source does not exist."""

    path: str
    mode: int = 0o755
    uid: int = -1
    gid: int = -1


class CopyTree(msgspec.Struct, frozen=True):
    """A file or directory of the host is copied into the container's directory on the host."""

    source: str
    target: str
    uid: int = -1
    gid: int = -1


class MapOwners(msgspec.Struct, frozen=True):
    """A view of a host's path with other owners (an id-mapped mount) at a place in the container's own directory.

    For runtimes that cannot make such mounts. `unmap_owners` takes it away once the container has it.
    """

    source: str
    target: str
    uids: tuple[tuple[int, int, int], ...]
    """(id of the files, id on the host, how many)."""
    gids: tuple[tuple[int, int, int], ...]


class TryOwners(msgspec.Struct, frozen=True):
    """Nothing is made, but it is an error if the runtime could not mount this path of the host with other owners."""

    source: str
    uids: tuple[tuple[int, int, int], ...]
    gids: tuple[tuple[int, int, int], ...]


Effect = MakeDirectory | MakeLink | RemoveFile | WriteFile | MakeHostDirectory | CopyTree | MapOwners | TryOwners


class Relabel(msgspec.Struct, frozen=True):
    """A path of the host gets the container's SELinux label (`security.relabel.relabel`)."""

    path: str
    label: str
    trust_top: bool = False


class ContainerPlan(msgspec.Struct):
    """The finished specification, what must be applied before the runtime sees it, and facts for ContainerStatus."""

    spec: Spec
    effects: list[Effect]
    relabels: list[Relabel]
    warnings: list[str]
    """One sentence each, for the log."""
    volumes: list[pb.Mount]
    """The request's mounts as they were done, for ContainerStatus.mounts."""
    user: ContainerUser
    """For ContainerStatus.user."""
    stop_signal: StopSignal
    seccomp_reference: str = ""
    """"RuntimeDefault", "Unconfined", or the path of a profile."""
    seccomp_listener: str = ""
    """Socket on which the runtime hands over the notification descriptor; empty without a notifier."""
    seccomp_action: str = ""
    """What is to happen after forbidden calls."""


class Notes(msgspec.Struct):
    """Collects what the concerns have to tell beside the values that they return."""

    directory: str = ""
    """The container's own directory on the host."""
    mount_label: str = ""
    """The SELinux label of the container's files; "" without SELinux."""
    effects: list[Effect] = msgspec.field(default_factory=list)
    relabels: list[Relabel] = msgspec.field(default_factory=list)
    warnings: list[str] = msgspec.field(default_factory=list)

    def write(self, name: str, data: bytes, mode: int = 0o644, uid: int = -1, gid: int = -1) -> str:
        """Plan a file in the container's directory; its path on the host."""
        path = os.path.join(self.directory, name)
        self.effects.append(WriteFile(path, data, mode, uid, gid))
        self.label(path)
        return path

    def make_directory(self, name: str, uid: int = -1, gid: int = -1) -> str:
        """Plan a directory in the container's directory; its path on the host."""
        path = os.path.join(self.directory, name)
        self.effects.append(MakeHostDirectory(path, 0o755, uid, gid))
        self.label(path)
        return path

    def map_owners(self, source: str, uids: Sequence[IdMapping], gids: Sequence[IdMapping]) -> str:
        """Plan a view of a host's path with other owners; its path on the host."""
        number = sum(isinstance(effect, MapOwners) for effect in self.effects)
        target = os.path.join(self.directory, MAPPED_VOLUMES, str(number))
        self.effects.append(MapOwners(source, target, _lines(uids), _lines(gids)))
        return target

    def try_owners(self, source: str, uids: Sequence[IdMapping], gids: Sequence[IdMapping]) -> None:
        """Plan to refuse a host's path that the runtime could not mount with other owners."""
        self.effects.append(TryOwners(source, _lines(uids), _lines(gids)))

    def label(self, path: str, *, trust_top: bool = False) -> None:
        """Plan that a path of the host gets the container's label; nothing without one."""
        if self.mount_label:
            self.relabels.append(Relabel(path, self.mount_label, trust_top))


def _lines(mappings: Sequence[IdMapping]) -> tuple[tuple[int, int, int], ...]:
    return tuple((item.container_id, item.host_id, item.size) for item in mappings)
