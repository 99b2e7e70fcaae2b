from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from crio.storage.usage import Usage, measure
from open_files import open_files


def test_counts_as_du_does(tmp_path: Path) -> None:
    for directory in range(5):
        (tmp_path / f"d{directory}").mkdir()
        for number in range(20):
            (tmp_path / f"d{directory}" / str(number)).write_bytes(os.urandom(number * 1000))
    os.link(tmp_path / "d1/7", tmp_path / "d2/again")
    os.symlink("/etc", tmp_path / "link")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "d1" / "e" / "f" / "g").mkdir(parents=True)
    blocks = int(subprocess.check_output(["du", "-s", "--block-size=512", str(tmp_path)]).split()[0])
    inodes = int(subprocess.check_output(["du", "-s", "--inodes", str(tmp_path)]).split()[0])
    assert measure(str(tmp_path)) == Usage(blocks * 512, inodes)


def test_an_end_is_in_sight(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "f").write_text("")
    before = open_files()
    assert measure(str(tmp_path), max_entries=10).inodes == 51
    assert open_files() == before
    with pytest.raises(FileNotFoundError):
        measure(str(tmp_path / "nowhere"))


def test_sum() -> None:
    assert Usage(1, 2) + Usage(3, 4) == Usage(4, 6)
