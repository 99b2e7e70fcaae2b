from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.file_systems import FULL, fill, mounted
from crio.linux import btrfs

pytestmark = [pytest.mark.root, pytest.mark.skipif(not shutil.which("mkfs.btrfs"), reason="needs btrfs-progs")]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with mounted("btrfs") as path:
        yield path


def test_which_file_system_it_is(home: Path) -> None:
    assert btrfs.is_btrfs(str(home / "not/there/yet"))
    assert not btrfs.is_btrfs("/proc")
    assert not btrfs.is_subvolume("/proc")
    assert not btrfs.is_subvolume(str(home / "none"))


def test_a_snapshot_goes_its_own_way(home: Path) -> None:
    one, two = str(home / "one"), str(home / "two")
    btrfs.create_subvolume(one)
    (home / "one/f").write_text("1")
    btrfs.snapshot(one, two)
    (home / "two/f").write_text("2")
    assert (home / "one/f").read_text() == "1"
    assert btrfs.is_subvolume(one)
    assert btrfs.is_subvolume(two)
    assert btrfs.subvolume_id(one) != btrfs.subvolume_id(two)
    with pytest.raises(FileExistsError):
        btrfs.create_subvolume(one)
    btrfs.create_subvolume(one + "/inner")
    with pytest.raises(OSError, match="one") as raised:
        btrfs.destroy_subvolume(one)
    assert raised.value.errno == errno.ENOTEMPTY
    btrfs.destroy_subvolume(one + "/inner")
    btrfs.destroy_subvolume(one)
    btrfs.destroy_subvolume(two)
    assert os.listdir(home) == []
    with pytest.raises(OSError, match="long"):
        btrfs.create_subvolume(str(home / ("x" * 256)))


def test_a_limit_holds_until_it_is_taken_away(home: Path) -> None:
    place = str(home / "limited")
    btrfs.create_subvolume(place)
    btrfs.enable_quota(str(home))
    btrfs.enable_quota(str(home))
    btrfs.limit_exclusive(place, 2 << 20)
    with pytest.raises(OSError, match=FULL):
        fill(place + "/f", 8 << 20)
    btrfs.limit_exclusive(place, None)
    fill(place + "/f", 4 << 20)
    assert os.path.getsize(place + "/f") == 4 << 20
    number = btrfs.subvolume_id(place)
    btrfs.destroy_subvolume(place)
    btrfs.remove_quota_group(str(home), number)
    btrfs.remove_quota_group(str(home), 999999)
