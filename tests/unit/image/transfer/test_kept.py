from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from crio.base.ids import Digest
from crio.image.transfer import kept
from crio.image.transfer.kept import KeptBlobs

DIGEST = Digest("sha256:" + "a" * 64)
OTHER = Digest("sha256:" + "b" * 64)
SIZE = 8 << 20


def fill(blobs: KeptBlobs, digest: Digest, *ranges: tuple[int, bytes], size: int = SIZE) -> None:
    blob = blobs.open(digest, size)
    assert blob is not None
    for position, data in ranges:
        blob.write(position, data)
    blob.close()


def test_pieces_are_found_again(tmp_path: Path) -> None:
    blobs = KeptBlobs(str(tmp_path / "kept"))
    assert blobs.find(DIGEST, SIZE) is None
    assert not (tmp_path / "kept").exists(), "looking makes nothing"
    fill(blobs, DIGEST, (0, b"abc"), (100, b"xyz"), (3, b"def"))
    found = blobs.find(DIGEST, SIZE)
    assert found is not None
    assert found.found == 9
    assert [found.available(position) for position in (0, 5, 6, 99, 100, 103)] == [6, 6, 6, 99, 103, 103]
    assert [found.gap_end(position) for position in (6, 103)] == [100, SIZE]
    assert found.read(0, 100) == b"abcdef"
    assert found.read(102, 100) == b"z"
    found.write(6, b"-" * 94)
    assert found.available(0) == 103
    found.discard()
    found.close()
    assert blobs.find(DIGEST, SIZE) is None
    assert os.listdir(tmp_path / "kept") == []


def test_one_user_at_a_time(tmp_path: Path) -> None:
    blobs, elsewhere = KeptBlobs(str(tmp_path)), KeptBlobs(str(tmp_path), max_age=-1)
    tmp_path.chmod(0o700)
    mine = blobs.open(DIGEST, SIZE)
    assert mine is not None
    assert elsewhere.find(DIGEST, SIZE) is None
    assert elsewhere.open(DIGEST, SIZE) is None
    assert elsewhere.clean() == 0, "what is in use is not old"
    mine.close()
    assert elsewhere.clean() == 1
    assert os.listdir(tmp_path) == []


def test_a_kill_loses_at_most_what_was_not_noted(tmp_path: Path) -> None:
    blobs = KeptBlobs(str(tmp_path / "kept"))
    blob = blobs.open(DIGEST, SIZE)
    assert blob is not None
    blob.write(0, b"a" * (3 << 19))
    blob.write(3 << 19, b"b" * 10)
    journal = tmp_path / "kept" / ("sha256-" + "a" * 64 + ".ranges")
    assert journal.read_text() == f"0 {3 << 19}\n"
    blob.close()
    journal.write_text("0 1000\n20")
    again = blobs.open(DIGEST, SIZE)
    assert again is not None
    assert again.found == 1000
    again.write(5000, b"x" * (1 << 20))
    again.close()
    assert journal.read_text() == f"0 1000\n5000 {5000 + (1 << 20)}\n", "a line that was cut short is gone"


@pytest.mark.parametrize(
    "text", ["9 5\n", f"0 {SIZE + 1}\n", "-1 5\n", "rubbish\n0 5\n", "\0" * 100, "0 99999999999999999999\n"]
)
def test_a_damaged_journal_says_nothing(tmp_path: Path, text: str) -> None:
    blobs = KeptBlobs(str(tmp_path / "kept"))
    fill(blobs, DIGEST, (0, b"abc"))
    (tmp_path / "kept" / ("sha256-" + "a" * 64 + ".ranges")).write_text(text)
    found = blobs.find(DIGEST, SIZE)
    assert found is not None
    assert found.found == 0
    found.close()


def test_old_pieces_go(tmp_path: Path) -> None:
    blobs = KeptBlobs(str(tmp_path / "kept"))
    fill(blobs, DIGEST, (0, b"abc" * 5000))
    fill(blobs, OTHER, (0, b"abc"))
    assert 15_000 <= blobs.usage() <= 40_000
    path = tmp_path / "kept" / ("sha256-" + "a" * 64)
    old = time.time() - kept.MAX_AGE - 60
    os.utime(path, (old, old))
    (tmp_path / "kept" / "not-ours").write_text("stays")
    assert blobs.clean() == 1
    assert sorted(os.listdir(tmp_path / "kept")) == ["not-ours", "sha256-" + "b" * 64, "sha256-" + "b" * 64 + ".ranges"]


def test_space_is_bounded_and_the_oldest_makes_room(tmp_path: Path) -> None:
    blobs = KeptBlobs(str(tmp_path / "kept"), max_bytes=200_000)
    fill(blobs, DIGEST, (0, b"x" * 100_000), size=100_000)
    earlier = time.time() - 60
    os.utime(tmp_path / "kept" / ("sha256-" + "a" * 64), (earlier, earlier))
    fill(blobs, OTHER, (0, b"x" * 100_000), size=150_000)
    assert blobs.find(DIGEST, 100_000) is None
    assert blobs.open(DIGEST, 300_000) is None, "larger than all that may be kept"


def test_a_directory_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o777)
    (tmp_path / "kept").chmod(0o777)
    assert KeptBlobs(str(tmp_path / "kept")).open(DIGEST, SIZE) is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "kept").mkdir(mode=0o700)
    (tmp_path / "kept" / ("sha256-" + "a" * 64)).symlink_to(victim)
    assert KeptBlobs(str(tmp_path / "kept")).open(DIGEST, SIZE) is None
    assert victim.read_bytes() == b"precious"
