from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.linux.openat2 import RESOLVE_BENEATH, mkdir_in_root, open_beneath, open_in_root, openat2
from open_files import open_files


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "outside").write_text("secret")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc" / "passwd").write_text("inside")
    (inside / "outside").write_text("not secret")
    (inside / "absolute").symlink_to("/etc/passwd")
    (inside / "up").symlink_to("../../../../outside")
    (inside / "proc").symlink_to("/proc/self/root")
    (inside / "dangling").symlink_to("/nowhere/at/all")
    (inside / "loop").symlink_to("loop")
    fd = os.open(inside, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def content(fd: int) -> str:
    with open(fd) as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("etc/passwd", "inside"),
        ("/etc/passwd", "inside"),
        ("absolute", "inside"),
        ("up", "not secret"),
        ("../../../etc/passwd", "inside"),
        ("/../outside", "not secret"),
    ],
)
def test_in_root_never_leaves(root: int, path: str, expected: str) -> None:
    assert content(open_in_root(root, path, os.O_RDONLY)) == expected


def test_magic_links_are_refused(tmp_path: Path) -> None:
    fd = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="symbolic links"):
            open_in_root(fd, "exe", os.O_RDONLY)
    finally:
        os.close(fd)


def test_beneath_follows_no_link(root: int) -> None:
    assert content(open_beneath(root, "etc/passwd", os.O_RDONLY)) == "inside"
    for path in ("absolute", "up", "loop"):
        with pytest.raises(OSError, match="symbolic links"):
            open_beneath(root, path, os.O_RDONLY)
    for path in ("../outside", "/etc/passwd"):
        with pytest.raises(OSError, match="cross-device"):
            open_beneath(root, path, os.O_RDONLY)


def test_descriptor_is_close_on_exec(root: int) -> None:
    fd = openat2(root, "etc", os.O_RDONLY, resolve=RESOLVE_BENEATH)
    assert not os.get_inheritable(fd)
    os.close(fd)


def made(root: int, path: str) -> str:
    fd = mkdir_in_root(root, path)
    try:
        return os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), os.readlink(f"/proc/self/fd/{root}"))
    finally:
        os.close(fd)


def test_mkdir_makes_what_is_missing_inside(root: int) -> None:
    assert made(root, "/a/b/c") == "a/b/c"
    assert made(root, "a/b/c") == "a/b/c"
    assert made(root, "etc/../x") == "x"
    assert made(root, "") == "."
    assert made(root, "/../../y") == "y"


def test_mkdir_resolves_links_in_the_root(root: int, tmp_path: Path) -> None:
    (tmp_path / "root" / "link").symlink_to("/etc")
    assert made(root, "link/sub") == "etc/sub"
    (tmp_path / "root" / "out").symlink_to("../..")
    assert made(root, "out/z") == "z"
    assert not (tmp_path / "z").exists()


def test_mkdir_sets_mode_and_owner_of_new_directories_only(root: int, tmp_path: Path) -> None:
    os.close(mkdir_in_root(root, "etc/n/m", 0o700, uid=os.getuid(), gid=os.getgid()))
    assert (tmp_path / "root/etc/n").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "root/etc").stat().st_mode & 0o777 != 0o700


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("etc/passwd/x", NotADirectoryError),
        ("etc/passwd", NotADirectoryError),
        ("dangling", FileNotFoundError),
        ("dangling/x", FileNotFoundError),
        ("new/../x", FileNotFoundError),
        ("loop/x", OSError),
    ],
)
def test_mkdir_refuses(root: int, path: str, error: type[OSError]) -> None:
    before = open_files()
    with pytest.raises(error):
        mkdir_in_root(root, path)
    assert open_files() == before
