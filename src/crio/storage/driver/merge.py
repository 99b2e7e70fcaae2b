"""One layer's files put over a copy of the layers below, for drivers that have no overlay to do it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from crio.linux.overlay import OPAQUE
from crio.storage.deletion import delete_tree
from crio.storage.driver.programs import run_program

_COPY_TIMEOUT = 3600.0


def copy_tree(source: str, target: str) -> None:
    """Put everything in the directory `source` into `target`; cp(1) knows holes, links, owners, times and attributes.

    Blocks are shared where the file system can. Raises ProcessFailed with what cp says.
    """
    run_program(["cp", "-a", "--reflink=auto", f"{source}/.", target], timeout=_COPY_TIMEOUT)


def copy_over(source: str, target: str) -> None:
    """As `copy_tree`, but a file in the way is replaced and never written into: others may share its blocks."""
    argv: Sequence[str] = ["cp", "-a", "--reflink=auto", "--remove-destination", f"{source}/.", target]
    run_program(argv, timeout=_COPY_TIMEOUT)


def drop_marks(path: str) -> None:
    """Remove overlay's marks of deletion from a tree below which there is nothing to delete."""
    for directory, names, files in os.walk(path):
        for name in files:
            file = os.path.join(directory, name)
            if is_whiteout(os.lstat(file)):
                os.unlink(file)
        for name in names:
            child = os.path.join(directory, name)
            if not os.path.islink(child) and is_opaque(child):
                os.removexattr(child, OPAQUE)


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


def clear(path: str) -> None:
    """Remove whatever is there, links not followed; fine if nothing is."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            delete_tree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass
