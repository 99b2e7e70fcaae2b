"""Directories that an image declares as volumes: made in the root, mounted from the host, or passed over."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Sequence

from crio.container.specgen.plan import MakeDirectory, Notes
from crio.spec.oci_runtime import Mount

_KERNEL = ("/proc", "/sys", "/dev")
_MAX_VOLUMES = 256


def image_volumes(
    declared: Sequence[str],
    mode: str,
    *,
    owner: tuple[int, int],
    requested: Iterable[str],
    notes: Notes,
) -> list[Mount]:
    """Mounts for mode "bind"; for "mkdir" a planned directory. `owner` is the container's user as the host knows it.

    A volume that the request mounts itself is done already. Paths come from the image: whatever ".." they have stays in
    the root (CVE-2022-23648), and a volume over the kernel's file systems is refused with a warning (CVE-2019-16884).
    """
    if mode == "ignore" or not declared:
        return []
    mounts: list[Mount] = []
    taken = {posixpath.normpath(path) for path in requested}
    for volume in declared[:_MAX_VOLUMES]:
        path = posixpath.normpath("/" + volume.lstrip("/"))
        if path in taken or path == "/":
            continue
        if "\0" in path or path in _KERNEL or path.startswith(tuple(f"{kernel}/" for kernel in _KERNEL)):
            notes.warnings.append(
                f"the image's volume {volume[:200]!r} is passed over: it lies in a kernel file system"
            )
            continue
        taken.add(path)
        if mode == "mkdir":
            notes.effects.append(MakeDirectory(path, 0o755, *owner))
            continue
        name = hashlib.sha256(path.encode()).hexdigest()[:32]
        source = notes.make_directory(f"volumes/{name}", *owner)
        mounts.append(Mount(path, "bind", source, ["rprivate", "bind", "rw"]))
    if len(declared) > _MAX_VOLUMES:
        notes.warnings.append(
            f"the image declares {len(declared)} volumes: those after the first {_MAX_VOLUMES} are none"
        )
    return mounts
