from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crio.base.process import ProcessFailed
from crio.linux.overlay import OPAQUE
from crio.storage.driver.merge import copy_over, copy_tree, drop_marks, is_opaque, is_whiteout

pytestmark = pytest.mark.root


def test_links_holes_and_attributes_are_copied(place: Path) -> None:
    source, target = place / "s", place / "t"
    (source / "d").mkdir(parents=True)
    target.mkdir()
    (source / "a").write_bytes(b"x")
    os.truncate(source / "a", 1 << 24)
    os.link(source / "a", source / "d/b")
    os.chown(source / "d", 5, 6)
    (source / "l").symlink_to("a")
    os.setxattr(source / "a", "user.note", b"y")
    copy_tree(str(source), str(target))
    assert (target / "a").stat().st_ino == (target / "d/b").stat().st_ino
    assert (target / "a").stat().st_blocks < 1000
    assert (target / "d").stat().st_uid == 5
    assert os.readlink(target / "l") == "a"
    assert os.getxattr(target / "a", "user.note") == b"y"
    with pytest.raises(ProcessFailed, match="none"):
        copy_tree(str(place / "none"), str(target))


def test_a_file_in_the_way_is_replaced_not_written(place: Path) -> None:
    source, target = place / "s", place / "t"
    source.mkdir()
    target.mkdir()
    (source / "a").write_text("new")
    (target / "a").write_text("old")
    os.link(target / "a", place / "other")
    copy_over(str(source), str(target))
    assert ((target / "a").read_text(), (place / "other").read_text()) == ("new", "old")


def test_marks(place: Path) -> None:
    (place / "d").mkdir()
    os.setxattr(place / "d", OPAQUE, b"y")
    os.mknod(place / "d/gone", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(place / "null", stat.S_IFCHR, os.makedev(1, 3))
    assert is_opaque(str(place / "d"))
    assert not is_opaque(str(place))
    assert is_whiteout(os.lstat(place / "d/gone"))
    assert not is_whiteout(os.lstat(place / "null"))
    drop_marks(str(place))
    assert os.listdir(place / "d") == []
    assert not is_opaque(str(place / "d"))
    assert (place / "null").exists()
