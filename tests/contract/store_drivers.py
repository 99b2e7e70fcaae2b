"""Stores with each storage driver, for tests that hold all drivers to the same behaviour."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from contract.file_systems import mounted
from crio.storage.options import StoreOptions
from crio.storage.store import Store

KINDS = {
    "overlay": ("overlay", ()),
    "fuse": ("overlay", ("overlay.mount_program=/usr/bin/fuse-overlayfs",)),
    "vfs": ("vfs", ()),
    "btrfs": ("btrfs", ()),
}
_NEEDS = {"fuse": "fuse-overlayfs", "btrfs": "mkfs.btrfs"}


def missing(kind: str) -> str | None:
    """The program without which this kind cannot be tested here, if it is not installed."""
    program = _NEEDS.get(kind)
    return program if program and not shutil.which(program) else None


@contextlib.contextmanager
def file_system(kind: str, place: Path) -> Iterator[Path]:
    """Where stores of this kind can be: `place`, or a file system of their own."""
    if kind != "btrfs":
        yield place
        return
    with mounted("btrfs") as path:
        yield path


def options(kind: str, directory: Path) -> StoreOptions:
    driver, driver_options = KINDS[kind]
    return StoreOptions(
        str(directory / "graph"), str(directory / "run"), driver, driver_options=driver_options, lock_timeout=60
    )


@contextlib.contextmanager
def store(kind: str, directory: Path) -> Iterator[Store]:
    with Store.open(options(kind, directory)) as opened:
        yield opened
