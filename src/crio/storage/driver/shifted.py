"""Overlay's lower layers with the owners of a user namespace: id-mapped mounts of the layers' directories (Linux 5.19).

One mapped copy of each store's driver directory serves all its layers. It is attached only while overlay is mounted,
which then holds clones of its own.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence

from crio.base.errors import CrioError, FailedPrecondition
from crio.linux import mount as mnt
from crio.linux.overlay import OverlayMount, mount_overlay
from crio.linux.user_namespace import open_user_namespace
from crio.storage.deletion import delete_tree
from crio.storage.idmaps import IdMaps, lines
from crio.storage.records import IdMapEntry

log = logging.getLogger(__name__)

_PROBE = (IdMapEntry(0, 100000, 65536),)


@contextlib.contextmanager
def shifted_homes(homes: Sequence[str], place: str, maps: IdMaps) -> Iterator[Callable[[str], str]]:
    """Mapped copies of the directories `homes` below `place`; a function from real paths in them to mapped ones.

    Raises OSError where the kernel or a file system cannot, FailedPrecondition for a path in none of them.
    """
    namespace = open_user_namespace(lines(maps.uids), lines(maps.gids))
    made: list[tuple[str, str]] = []
    try:
        for number, home in enumerate(homes):
            point = os.path.join(place, str(number))
            os.makedirs(point, mode=0o700, exist_ok=True)
            tree = mnt.open_tree(home)
            try:
                mnt.mount_setattr(tree, userns_fd=namespace)
                mnt.move_mount(tree, point)
            finally:
                os.close(tree)
            made.append((os.path.realpath(home) + "/", point))
            mnt.make_private(point)

        def shifted(path: str) -> str:
            for home, point in made:
                if path.startswith(home):
                    return os.path.join(point, path[len(home) :])
            raise FailedPrecondition(f"cannot map owners of {path}: it lies in none of the stores")

        yield shifted
    finally:
        os.close(namespace)
        for _, point in made:
            mnt.umount(point, mnt.MNT_DETACH | mnt.UMOUNT_NOFOLLOW)
            os.rmdir(point)
        with contextlib.suppress(OSError):
            os.rmdir(place)


def can_shift(homes: Sequence[str]) -> bool:
    """Whether layers in these directories can be mounted so: tried with an overlay of each."""
    maps = IdMaps(_PROBE, _PROBE)
    place = os.path.join(os.path.dirname(homes[0]), f".crio-probe-{os.getpid()}-{threading.get_ident()}")
    target = os.path.join(place, "merged")
    try:
        os.makedirs(target, mode=0o700)
        with shifted_homes(homes, os.path.join(place, "mapped"), maps) as shifted:
            lowers = [shifted(os.path.realpath(home) + "/l") for home in homes]
            mount_overlay(OverlayMount(target, [*lowers, target]), home=homes[0])
            mnt.umount(target, mnt.MNT_DETACH | mnt.UMOUNT_NOFOLLOW)
    except (OSError, CrioError) as error:
        code = error.errno if isinstance(error, OSError) else 0
        log.log(
            logging.DEBUG if code in (errno.EINVAL, errno.ENOSYS) else logging.INFO,
            "root file systems of pods with user namespaces are copied: %s cannot be mounted with other owners: %s",
            homes[0],
            error,
        )
        return False
    finally:
        delete_tree(place)
    return True
