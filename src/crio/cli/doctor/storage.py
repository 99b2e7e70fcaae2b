"""The storage: room, the file system below it, and whether overlay works there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from crio import __version__
from crio.cli.doctor.finding import Finding, Patient, error, ok, warning

_LITTLE, _VERY_LITTLE = 0.10, 0.02
_UNFIT = {"nfs", "nfs4", "cifs", "overlay", "vfat", "fuse", "aufs"}


def check(patient: Patient) -> Iterator[Finding]:
    if patient.loaded is None:
        return
    from crio.config import marks

    crio = patient.loaded.config.crio
    place = _existing(crio.root)
    yield from _room("storage", place, crio.root)
    yield from _room("logs", _existing(crio.log_dir), crio.log_dir)
    kind = _file_system(place)
    if kind in _UNFIT and crio.storage_driver == "overlay":
        yield error(
            "storage",
            f"{crio.root} is on {kind}, which cannot carry overlay",
            'put root on ext4 or xfs, or set storage_driver = "vfs"',
        )
    elif crio.storage_driver == "overlay" and os.geteuid() == 0:
        problem = try_overlay(place)
        if problem:
            yield error("storage", f"overlay does not work in {place}: {problem}", "modprobe overlay; see `dmesg`")
        else:
            yield ok("storage", f"overlay on {kind} at {crio.root}")
    if marks.last_run(crio, __version__).unclean:
        yield warning(
            "storage",
            "the node went down without a clean stop, and the daemon has not started since",
            "nothing to do: the daemon checks the storage at its start; or run `crio check --repair` before",
        )


def try_overlay(directory: str) -> str:
    """Mount an overlay below `directory` and take it away again; what is wrong, or empty."""
    from crio.linux.mount import mount, umount

    try:
        with tempfile.TemporaryDirectory(prefix=".crio-doctor-", dir=directory) as scratch:
            for name in ("lower", "upper", "work", "merged"):
                os.mkdir(f"{scratch}/{name}")
            options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
            mount("overlay", f"{scratch}/merged", "overlay", 0, options)
            try:
                with open(f"{scratch}/merged/file", "wb"):
                    pass
            finally:
                umount(f"{scratch}/merged")
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""


def _room(subject: str, place: str, configured: str) -> Iterator[Finding]:
    state = os.statvfs(place)
    for what, free, total in (
        ("space", state.f_bavail, state.f_blocks),
        ("inodes", state.f_favail, state.f_files),
    ):
        if not total:
            continue
        part = free / total
        if part < _VERY_LITTLE:
            yield error(
                subject, f"{configured} has {part:.1%} of its {what} left", "remove images or logs, or enlarge it"
            )
        elif part < _LITTLE:
            yield warning(subject, f"{configured} has {part:.1%} of its {what} left: the kubelet begins to evict pods")


def _existing(path: str) -> str:
    """The nearest directory above that exists."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


def _file_system(path: str) -> str:
    """The type of the file system that `path` is on."""
    from crio.linux.mount import mounts

    real = os.path.realpath(path)
    best, kind = "", "?"
    for info in mounts():
        point = info.mount_point.rstrip("/")
        if (real == point or real.startswith(f"{point}/")) and len(point) >= len(best):
            best, kind = point, info.fstype
    return kind
