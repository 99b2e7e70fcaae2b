from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition
from crio.linux.mount import mounts_below
from crio.storage.driver.shifted import can_shift, shifted_homes
from crio.storage.idmaps import IdMaps
from crio.storage.records import IdMapEntry

pytestmark = pytest.mark.root

ENTRY = (IdMapEntry(0, 200000, 65536),)
MAPS = IdMaps(ENTRY, ENTRY)


def test_paths_in_several_stores_are_mapped_while_it_lasts(place: Path) -> None:
    homes = [place / "a", place / "b"]
    for number, home in enumerate(homes):
        (home / "x").mkdir(parents=True)
        os.chown(home / "x", number, number)
    with shifted_homes([str(home) for home in homes], str(place / "mapped"), MAPS) as shifted:
        owners = [os.stat(shifted(str(home / "x"))).st_uid for home in homes]
        assert owners == [200000, 200001]
        with pytest.raises(FailedPrecondition, match="none of the stores"):
            shifted(str(place / "c"))
    assert mounts_below(str(place)) == []
    assert not (place / "mapped").exists()


def test_what_the_file_system_can(place: Path) -> None:
    (place / "home/l").mkdir(parents=True)
    assert can_shift([str(place / "home")])
    # /proc never can.
    assert not can_shift([str(place / "home"), "/proc/self"])
    assert os.listdir(place) == ["home"]
    assert mounts_below(str(place)) == []
