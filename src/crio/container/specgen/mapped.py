"""Volumes with the owners of a user namespace: id-mapped mounts for runtimes that cannot make them (Linux 5.12).

They are mounted in the container's own directory on the host, only until the runtime has made the container's mounts
from them. Blocking; about a millisecond each.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from crio.base.errors import FailedPrecondition
from crio.container.specgen.plan import MAPPED_VOLUMES, MapOwners, TryOwners
from crio.linux import mount
from crio.linux.user_namespace import open_user_namespace

_REFUSALS = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
"""EPERM: the file system belongs to another user namespace, or the mount has mapped owners already."""
_MAX_DEVICES = 1024
_can_map: set[int] = set()
"""Devices whose file system was seen to map owners: the kernel takes a millisecond to tell."""


def map_owners(effect: MapOwners) -> None:
    """Mount it. Raises FailedPrecondition if kernel or file system cannot map owners, OSError."""
    os.makedirs(os.path.dirname(effect.target), 0o711, exist_ok=True)
    with _mapped_tree(effect, recursive=True) as tree:
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            os.makedirs(effect.target, 0o755, exist_ok=True)
        else:
            os.close(os.open(effect.target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        mount.move_mount(tree, effect.target)


def try_owners(effect: TryOwners) -> None:
    """Raise FailedPrecondition where `map_owners` would, in the place of a runtime that tells less. OSError."""
    device = os.stat(effect.source).st_dev
    if device in _can_map:
        return
    with _mapped_tree(effect, recursive=False):
        if len(_can_map) >= _MAX_DEVICES:
            _can_map.clear()
        _can_map.add(device)


@contextlib.contextmanager
def _mapped_tree(effect: MapOwners | TryOwners, *, recursive: bool) -> Iterator[int]:
    """A detached copy of the mount with mapped owners. What is mounted below keeps its owners, as with runtimes."""
    tree = mount.open_tree(effect.source, recursive=recursive)
    try:
        namespace = open_user_namespace(effect.uids, effect.gids)
        try:
            mount.mount_setattr(tree, userns_fd=namespace)
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            raise FailedPrecondition(
                f"cannot mount {effect.source} with the owners of the pod's user namespace: its file system "
                f"({_kind(effect.source)}) or the kernel cannot map them, and owners of files that others may use are "
                "not changed; use a volume on another file system, or hostUsers: true"
            ) from None
        finally:
            os.close(namespace)
        yield tree
    finally:
        os.close(tree)


def unmap_owners(directory: str) -> None:
    """Take away all such mounts of the container that has this directory; fine if there are none. Raises OSError."""
    place = os.path.join(directory, MAPPED_VOLUMES)
    try:
        names = os.listdir(place)
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(place, name)
        while mount.is_mount_point(path):
            mount.umount(path, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)


def _kind(path: str) -> str:
    """The type of the file system at a path, for a message."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return next((info.fstype for info in mount.mounts() if info.device == wanted), "unknown")
