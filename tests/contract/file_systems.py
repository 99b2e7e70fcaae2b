"""File systems of their own for tests, in a sparse file on a loop device."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.linux.mount import unmount_below

_MAKE = {
    "btrfs": ["mkfs.btrfs", "-q"],
    "ext4": ["mkfs.ext4", "-q"],
    "ext4 with projects": ["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"],
    "xfs": ["mkfs.xfs", "-q"],
}
WITH_PROJECTS = ("xfs", "ext4 with projects")
"""Those that can limit directories, if the kernel can."""


@contextlib.contextmanager
def mounted(kind: str, *, size: int = 512 << 20, options: str = "") -> Iterator[Path]:
    """Where an empty file system of this kind is mounted; it takes memory only for what is written to it."""
    with tempfile.TemporaryDirectory(prefix=f"crio-{kind.partition(' ')[0]}-", dir="/dev/shm") as directory:
        image, point = os.path.join(directory, "image"), os.path.join(directory, "mounted")
        os.mkdir(point)
        with open(image, "wb") as file:
            file.truncate(size)
        subprocess.run([*_MAKE[kind], image], check=True, capture_output=True)
        attach(image, point, options)
        try:
            yield Path(point)
        finally:
            unmount_below(point)


def attach(image: str, point: str, options: str = "") -> None:
    """Mount an image through a loop device that goes with the mount; without the file system in the kernel, skip."""
    extra = f",{options}" if options else ""
    try:
        subprocess.run(["mount", "-o", f"loop{extra}", image, point], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        kind = re.search(r"unknown filesystem type '(\w+)'", error.stderr)
        if kind is None:
            raise
        pytest.skip(f"needs {kind[1]} in the kernel")


FULL = r"Disk quota exceeded|No space left on device"


def fill(path: Path | str, size: int) -> None:
    """Write random bytes through to the disk, a MiB at a time."""
    with open(path, "wb", buffering=0) as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())


def make_files(directory: Path, count: int) -> None:
    for number in range(count):
        (directory / str(number)).touch()
