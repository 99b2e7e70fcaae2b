"""/etc/localtime of containers, from crio.conf's timezone."""

from __future__ import annotations

import os
import posixpath
import stat

from crio.base.errors import CrioError, FailedPrecondition
from crio.base.files import read_bounded
from crio.base.regex import regex
from crio.container.specgen.plan import MakeLink, Notes, RemoveFile
from crio.linux.openat2 import open_in_root
from crio.spec.oci_runtime import Mount

_ZONES = "/usr/share/zoneinfo"
_LOCALTIME = "/etc/localtime"
_LIMIT = 1 << 20
_NAME = regex(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def timezone_mounts(zone: str, root_fd: int, *, read_only: bool, notes: Notes) -> list[Mount]:
    """A link in the root where the image has the zone, else a mount of a copy of the host's file.

    `zone` is a name such as Europe/Berlin, or "local" for the host's. Raises FailedPrecondition if the host has no such
    zone either.
    """
    if not zone:
        return []
    if zone.lower() == "local":
        path = os.path.realpath(_LOCALTIME)
    elif _NAME.fullmatch(zone):
        path = posixpath.join(os.environ.get("TZDIR", _ZONES), zone)
    else:
        raise FailedPrecondition(f"cannot set time zone {zone[:100]!r} of crio.conf: it is no name of a zone")
    if path.startswith(_ZONES) and _is_file(root_fd, path):
        notes.effects.append(MakeLink(_LOCALTIME, ".." + path, replace=True))
        return []
    try:
        data = read_bounded(path, _LIMIT)
    except (OSError, CrioError) as error:
        raise FailedPrecondition(f"cannot set time zone {zone!r} of crio.conf: cannot read {path}: {error}") from None
    # A link of the image's would have the runtime mount on what it points to.
    notes.effects.append(RemoveFile(_LOCALTIME))
    copy = notes.write("localtime", data)
    mode = "ro" if read_only else "rw"
    return [Mount(_LOCALTIME, "bind", copy, [mode, "bind", "nodev", "nosuid", "noexec"])]


def _is_file(root_fd: int, path: str) -> bool:
    try:
        fd = open_in_root(root_fd, path, os.O_PATH)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    finally:
        os.close(fd)
