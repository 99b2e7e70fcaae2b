"""Limits of containers' writable layers by project quotas of the file system below overlay (xfs, ext4)."""

from __future__ import annotations

import contextlib
import os
import secrets

from crio.base.errors import FailedPrecondition
from crio.linux import quota

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FIRST, _LAST = 1 << 20, (1 << 31) - 1
_ATTEMPTS = 64
_PARTS = (".", "diff", "work", "merged")


def check(home: str) -> None:
    """FailedPrecondition unless the file system of `home` can limit directories."""
    fd = os.open(home, _DIRECTORY)
    try:
        if not quota.is_enforced(fd):
            raise FailedPrecondition(
                f"cannot limit the size of containers: the file system of {home} counts no project quotas; "
                f"put it on xfs or ext4 mounted with prjquota, or remove the limit"
            )
    finally:
        os.close(fd)


def limit(place: str, size: int | None, inodes: int | None) -> None:
    """Limit one layer's directory, which must not hold files yet.

    Raises FailedPrecondition if the file system cannot, or if something was written already.
    """
    check(place)
    if os.listdir(os.path.join(place, "diff")):
        raise FailedPrecondition(f"cannot limit {place}: files were written to it already")
    fd = os.open(place, _DIRECTORY)
    try:
        id = quota.project(fd)
        if not _FIRST <= id <= _LAST:
            id = _free_project(fd)
        for part in _PARTS:
            _put(fd, part, id)
        quota.limit(fd, id, size=size, inodes=inodes)
    finally:
        os.close(fd)


def release(place: str) -> None:
    """Take the limit away, so that the number is free again once the files are gone."""
    with contextlib.suppress(OSError):
        fd = os.open(place, _DIRECTORY)
        try:
            id = quota.project(fd)
            if _FIRST <= id <= _LAST:
                quota.limit(fd, id)
        finally:
            os.close(fd)


def _free_project(fd: int) -> int:
    """A number that nobody uses. Drawn at random, so that tools beside each other do not draw the same."""
    for _ in range(_ATTEMPTS):
        id = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if quota.use(fd, id) == quota.ProjectUse(0, 0, 0, 0):
            return id
    raise FailedPrecondition("cannot limit the size of a container: no project number is free")


def _put(fd: int, name: str, id: int) -> None:
    try:
        part = os.open(name, _DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        return
    try:
        quota.set_project(part, id)
    finally:
        os.close(part)
