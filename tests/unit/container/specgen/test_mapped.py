"""Volumes with the owners of a user namespace, on the real kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition
from crio.container.specgen.mapped import map_owners, try_owners, unmap_owners
from crio.container.specgen.plan import MAPPED_VOLUMES, MapOwners, TryOwners
from crio.linux.mount import is_mount_point

pytestmark = pytest.mark.root

LINES = ((0, 1_000_000, 65536),)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "container"
    found.mkdir()
    yield found
    unmap_owners(str(found))


def effect(source: Path | str, directory: Path, name: str = "0") -> MapOwners:
    return MapOwners(str(source), str(directory / MAPPED_VOLUMES / name), LINES, LINES)


def test_directories_and_files(tmp_path: Path, directory: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "file").write_text("x")
    os.chown(source / "file", 7, 8)
    map_owners(effect(source, directory))
    map_owners(effect(source / "file", directory, "1"))
    place = directory / MAPPED_VOLUMES
    for path in (place / "0" / "file", place / "1"):
        assert (path.stat().st_uid, path.stat().st_gid) == (1_000_007, 1_000_008)
    os.chown(place / "0" / "file", 1_000_009, 1_000_000)
    assert ((source / "file").stat().st_uid, (source / "file").stat().st_gid) == (9, 0)
    unmap_owners(str(directory))
    assert not is_mount_point(str(place / "0"))
    assert not is_mount_point(str(place / "1"))
    unmap_owners(str(directory))
    unmap_owners(str(tmp_path / "none"))


def test_a_file_system_that_cannot(directory: Path) -> None:
    with pytest.raises(FailedPrecondition, match=r"/proc/self/net .*proc"):
        map_owners(effect("/proc/self/net", directory))
    assert not is_mount_point(str(directory / MAPPED_VOLUMES / "0"))


def test_what_a_runtime_is_to_map_is_tried_before(tmp_path: Path) -> None:
    for _ in range(2):
        try_owners(TryOwners(str(tmp_path), LINES, LINES))
        with pytest.raises(FailedPrecondition, match=r"\(proc\).*hostUsers"):
            try_owners(TryOwners("/proc/self/net", LINES, LINES))
    assert tmp_path.stat().st_uid == os.getuid()


def test_a_mount_that_has_mapped_owners_already(tmp_path: Path, directory: Path) -> None:
    map_owners(effect(tmp_path, directory))
    mapped = directory / MAPPED_VOLUMES / "0"
    with pytest.raises(FailedPrecondition, match="cannot map them"):
        map_owners(effect(mapped, directory, "1"))
