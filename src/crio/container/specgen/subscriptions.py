"""Mounts of copies of host files that the node's administrator gives to every container (mounts.conf)."""

from __future__ import annotations

import logging
import os
import posixpath
from functools import lru_cache

from crio.base.errors import CrioError
from crio.base.files import read_bounded
from crio.container.specgen.plan import CopyTree, Notes
from crio.spec.oci_runtime import Mount

log = logging.getLogger(__name__)

_FILES = ("/etc/containers/mounts.conf", "/usr/share/containers/mounts.conf")
_LIMIT = 64 << 10


def subscription_mounts(configured: str, *, owner: tuple[int, int], notes: Notes) -> list[Mount]:
    """The mounts of `configured`, or of the first system file that is there; sources that do not exist are left out.

    Each source is planned as a copy, so that a container cannot change the host's.
    """
    mounts = []
    for source, target in _entries(configured):
        real = os.path.realpath(source)
        if not os.path.exists(real):
            continue
        copy = os.path.join(notes.directory, "subscriptions", target.strip("/"))
        notes.effects.append(CopyTree(real, copy, *owner))
        notes.label(copy)
        mounts.append(Mount(target, "bind", copy, ["bind", "rprivate"]))
    return mounts


def _entries(configured: str) -> tuple[tuple[str, str], ...]:
    for path in (configured,) if configured else _FILES:
        try:
            status = os.stat(path)
        except OSError:
            continue
        return _parse(path, status.st_mtime_ns, status.st_size)
    return ()


@lru_cache(maxsize=8)
def _parse(path: str, _changed: int, _size: int) -> tuple[tuple[str, str], ...]:
    """The lines of a file; read again when it changes, and warned about once for each change."""
    try:
        text = read_bounded(path, _LIMIT).decode("utf-8", "replace")
    except (OSError, CrioError) as error:
        log.warning("cannot use %s: %s", path, error)
        return ()
    entries = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        source, _, target = stripped.partition(":")
        target = target or source
        clean = posixpath.normpath(target)
        if not (source.startswith("/") and target.startswith("/")) or clean == "/":
            log.warning("cannot use line %r of %s: it is not /host/path:/container/path", stripped[:200], path)
            continue
        entries.append((source, clean))
    return tuple(entries)
