"""Emptying a storage directory that cannot be mended: everything in it goes, of whichever tool."""

from __future__ import annotations

import os

from crio.base.errors import FailedPrecondition
from crio.linux.mount import mounts_below, unmount_below
from crio.storage.deletion import delete_tree


def clear_storage(root: str, *, unmount: bool = False) -> None:
    """Remove everything below the storage directory.

    What is mounted there, which is how running containers show, is FailedPrecondition, or detached with `unmount`.
    """
    running = containers_below(root)
    if running and not unmount:
        raise FailedPrecondition(f"cannot clear {root}: {running[0]} is mounted; stop the containers that use it")
    unmount_below(os.path.realpath(root), include_itself=False)
    for name in os.listdir(root) if os.path.isdir(root) else ():
        path = os.path.join(root, name)
        if os.path.isdir(path) and not os.path.islink(path):
            delete_tree(path)
            if os.path.lexists(path):
                raise FailedPrecondition(f"cannot clear {root}: {path} could not be deleted; the log says why")
        else:
            os.unlink(path)


def containers_below(root: str) -> list[str]:
    """Mount points below the storage that are containers', of any tool."""
    # The driver keeps its own directory mounted on itself, one level below the root; that is no container.
    depth = os.path.realpath(root).count("/") + 1
    points = [info.mount_point for info in mounts_below(os.path.realpath(root), include_itself=False)]
    return [point for point in points if point.count("/") > depth]
