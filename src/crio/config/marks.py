"""Files that tell a start how the last run ended: did the node reboot, was crio upgraded, was the stop a clean one.

They have CRI-O's names and content, so that each can follow on the other. The keys are version_file,
version_file_persist and clean_shutdown_file.
"""

from __future__ import annotations

import os

import msgspec

from crio.base.errors import ResourceExhausted
from crio.base.files import read_bounded, remove_temporaries, write_atomic
from crio.config.tables.root import Crio

_MAX = 4096


class LastRun(msgspec.Struct, frozen=True):
    """What the files say."""

    rebooted: bool
    """version_file, which a reboot clears, is not there."""
    upgraded: bool
    """version_file_persist shows another minor version, or is not there."""
    unclean: bool
    """The node rebooted without a clean stop of the daemon: what was written last may not have reached the disk."""


def last_run(crio: Crio, version: str) -> LastRun:
    """Read the files. One that cannot be read, or has no version in it, counts as missing; an empty path as fine."""
    rebooted = bool(crio.version_file) and _version(crio.version_file) is None
    upgraded = bool(crio.version_file_persist) and _minor(_version(crio.version_file_persist)) != _minor(version)
    watched = bool(crio.clean_shutdown_file) and os.path.exists(supported_file(crio))
    return LastRun(rebooted, upgraded, rebooted and watched and not os.path.exists(crio.clean_shutdown_file))


def note_start(crio: Crio, version: str) -> None:
    """Say which version runs, and that its stop has not been clean yet. Raises OSError."""
    for path in (crio.version_file, crio.version_file_persist):
        if path:
            _write(path, f'"{version}"')
    if crio.clean_shutdown_file:
        _write(supported_file(crio), "")
        try:
            os.unlink(crio.clean_shutdown_file)
        except FileNotFoundError:
            pass


def note_clean_stop(crio: Crio) -> None:
    """Say that everything has reached the disk; call it after that. Raises OSError."""
    if crio.clean_shutdown_file:
        _write(crio.clean_shutdown_file, "")


def supported_file(crio: Crio) -> str:
    """Its presence says that an earlier daemon knew how to write clean_shutdown_file."""
    return f"{crio.clean_shutdown_file}.supported"


def _write(path: str, text: str) -> None:
    directory, name = os.path.split(path)
    os.makedirs(directory or ".", mode=0o755, exist_ok=True)
    remove_temporaries(directory or ".", name)
    write_atomic(path, text.encode(), mode=0o644, durable=True)


def _version(path: str) -> str | None:
    try:
        text = read_bounded(path, _MAX).decode("ascii").strip()
    except (OSError, ResourceExhausted, UnicodeDecodeError):
        return None
    return text.strip('"') or None


def _minor(version: str | None) -> tuple[str, ...] | None:
    return None if version is None else tuple(version.split(".")[:2])
