from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition
from crio.container.specgen.plan import MakeLink, Notes, RemoveFile, WriteFile
from crio.container.specgen.timezone import timezone_mounts


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    fd = os.open(tmp_path, os.O_PATH)
    yield tmp_path, fd
    os.close(fd)


def test_off(root: tuple[Path, int]) -> None:
    assert timezone_mounts("", root[1], read_only=False, notes=Notes()) == []


def test_link_where_the_image_has_the_zone(root: tuple[Path, int]) -> None:
    zones = root[0] / "usr/share/zoneinfo/Europe"
    zones.mkdir(parents=True)
    (zones / "Berlin").write_text("TZif")
    notes = Notes()
    assert timezone_mounts("Europe/Berlin", root[1], read_only=False, notes=notes) == []
    assert notes.effects == [MakeLink("/etc/localtime", "../usr/share/zoneinfo/Europe/Berlin", replace=True)]


def test_copy_of_the_hosts(
    root: tuple[Path, int], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = tmp_path_factory.mktemp("zones")
    (zones / "Moon").write_text("TZif-moon")
    monkeypatch.setenv("TZDIR", str(zones))
    notes = Notes("/run/c")
    mounts = timezone_mounts("Moon", root[1], read_only=True, notes=notes)
    assert mounts[0].options[0] == "ro"
    assert notes.effects == [RemoveFile("/etc/localtime"), WriteFile("/run/c/localtime", b"TZif-moon")]


@pytest.mark.parametrize("zone", ["../../etc/shadow", "/etc/shadow", "No/Such/Zone", "a\nb"])
def test_bad_zones(root: tuple[Path, int], zone: str) -> None:
    with pytest.raises(FailedPrecondition):
        timezone_mounts(zone, root[1], read_only=False, notes=Notes())
