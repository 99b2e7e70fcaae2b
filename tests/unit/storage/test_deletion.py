from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

import pytest

from crio.linux.mount import bind, umount
from crio.storage import deletion
from crio.storage.deletion import delete_tree
from open_files import open_files


def make_deep(path: Path, depth: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        child = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.close(fd)


def test_trees_of_any_depth_go(place: Path) -> None:
    (place / "t").mkdir()
    make_deep(place / "t", 3000)
    before = open_files()
    assert delete_tree(str(place / "t"))
    assert not (place / "t").exists()
    assert open_files() == before


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_text("stay")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "link").symlink_to(tmp_path / "outside")
    delete_tree(str(tmp_path / "t"))
    assert (tmp_path / "outside" / "f").read_text() == "stay"
    (tmp_path / "top").symlink_to(tmp_path / "outside")
    delete_tree(str(tmp_path / "top"))
    assert (tmp_path / "outside" / "f").read_text() == "stay"


@pytest.mark.root
def test_mounts_are_not_entered(place: Path) -> None:
    (place / "precious").mkdir()
    (place / "precious" / "f").write_text("stay")
    (place / "t" / "d" / "bound").mkdir(parents=True)
    (place / "t" / "d" / "other").write_text("go")
    bind(str(place / "precious"), str(place / "t" / "d" / "bound"))
    delete_tree(str(place / "t"))
    assert (place / "precious" / "f").read_text() == "stay"
    assert not (place / "t/d/other").exists()
    umount(str(place / "t" / "d" / "bound"))
    delete_tree(str(place / "t"))
    assert not (place / "t").exists()


def test_limit(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for number in range(20):
        (tmp_path / "t" / str(number)).write_text("")
    assert not delete_tree(str(tmp_path / "t"), limit=10)
    assert delete_tree(str(tmp_path / "t"), limit=30)
    assert not (tmp_path / "t").exists()
    assert delete_tree(str(tmp_path / "t"))


@pytest.mark.root
def test_immutable_files_go_too(tmp_path: Path) -> None:
    (tmp_path / "t" / "d").mkdir(parents=True)
    file = tmp_path / "t" / "d" / "f"
    file.write_text("")
    for path in (file, tmp_path / "t" / "d"):
        fd = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, deletion._FS_IOC_SETFLAGS, struct.pack("i4x", 0x10))
        except OSError:
            pytest.skip("the file system of the temporary directory knows no immutable files")
        finally:
            os.close(fd)
    with pytest.raises(PermissionError):
        file.unlink()
    delete_tree(str(tmp_path / "t"))
    assert not (tmp_path / "t").exists()
