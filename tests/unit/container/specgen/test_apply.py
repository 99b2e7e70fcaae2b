from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen.apply import apply_effects
from crio.container.specgen.plan import (
    CopyTree,
    Effect,
    MakeDirectory,
    MakeHostDirectory,
    MakeLink,
    RemoveFile,
    WriteFile,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    (path / "etc").mkdir(parents=True)
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    return path


def apply(root: Path, *effects: Effect) -> None:
    apply_effects(effects, str(root))
    # A retry does the same again.
    apply_effects(effects, str(root))


def test_directories_and_links(root: Path) -> None:
    apply(root, MakeDirectory("/srv/app", 0o750), MakeLink("/etc/mtab", "/proc/mounts"))
    assert stat.S_IMODE((root / "srv/app").stat().st_mode) == 0o750
    assert os.readlink(root / "etc/mtab") == "/proc/mounts"


@pytest.mark.root
def test_owner_of_new_directories_only(root: Path) -> None:
    (root / "srv").mkdir()
    apply(root, MakeDirectory("/srv/a/b", 0o755, 1234, 4321))
    assert (root / "srv").stat().st_uid == os.getuid()
    assert [(path.stat().st_uid, path.stat().st_gid) for path in (root / "srv/a", root / "srv/a/b")] == [
        (1234, 4321)
    ] * 2


def test_etc_is_a_link_out_of_the_root(root: Path, outside: Path) -> None:
    """CVE-2024-5154: nothing is made on the host."""
    (root / "etc").rmdir()
    (root / "etc").symlink_to(outside)
    apply(root, MakeDirectory("/etc"), MakeLink("/etc/mtab", "/proc/mounts"), RemoveFile("/etc/localtime"))
    assert list(outside.iterdir()) == []


def test_working_directory_is_a_link_out_of_the_root(root: Path, outside: Path) -> None:
    (root / "app").symlink_to(f"{outside}/made")
    apply(root, MakeDirectory("/app"))
    assert list(outside.iterdir()) == []
    (root / "up").symlink_to("../../outside")
    (root / "outside").mkdir()
    apply(root, MakeDirectory("/up/x"))
    assert (root / "outside/x").is_dir()
    assert list(outside.iterdir()) == []


def test_mtab_is_a_link_already(root: Path, outside: Path) -> None:
    target = outside / "file"
    target.write_text("host")
    (root / "etc/mtab").symlink_to(target)
    apply(root, MakeLink("/etc/mtab", "/proc/mounts"))
    assert target.read_text() == "host"
    assert os.readlink(root / "etc/mtab") == str(target)


def test_replaced_and_removed_are_the_links_themselves(root: Path, outside: Path) -> None:
    target = outside / "zone"
    target.write_text("host")
    (root / "etc/localtime").symlink_to(target)
    apply(root, MakeLink("/etc/localtime", "../usr/zone", replace=True))
    assert os.readlink(root / "etc/localtime") == "../usr/zone"
    apply(root, RemoveFile("/etc/localtime"))
    assert not os.path.lexists(root / "etc/localtime")
    assert target.read_text() == "host"
    (root / "etc/localtime").mkdir()
    with pytest.raises(InvalidArgument, match="directory"):
        apply(root, RemoveFile("/etc/localtime"))


@pytest.mark.parametrize("target", ["/proc/self/fd/7", "../proc/self/fd", "/dev/fd/3", "/a/link2"])
def test_working_directory_link_to_a_descriptor(root: Path, target: str) -> None:
    """CVE-2024-21626 by way of the image's own links."""
    (root / "a").mkdir()
    (root / "a/link2").symlink_to("/proc/1/cwd")
    (root / "app").symlink_to(target)
    with pytest.raises(InvalidArgument, match="leads to"):
        apply(root, MakeDirectory("/app"))


def test_links_in_a_circle(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(InvalidArgument):
        apply(root, MakeDirectory("/a/x"))


def test_a_file_is_in_the_way(root: Path) -> None:
    (root / "srv").write_text("")
    with pytest.raises(InvalidArgument, match="in the way"):
        apply(root, MakeDirectory("/srv/app"))


def test_files_and_directories_of_the_container(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "run/deep/passwd"
    apply(root, WriteFile(str(path), b"x", 0o640), MakeHostDirectory(str(tmp_path / "run/v/w"), 0o700))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"x", 0o640)
    assert stat.S_IMODE((tmp_path / "run/v/w").stat().st_mode) == 0o700


def test_files_are_not_written_through_links(root: Path, outside: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/passwd").symlink_to(outside / "x")
    with pytest.raises(OSError, match="passwd"):
        apply(root, WriteFile(str(tmp_path / "run/passwd"), b"x"))
    assert list(outside.iterdir()) == []


def test_copies(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d/file").write_text("secret")
    (source / "d/file").chmod(0o400)
    (source / "loop").symlink_to(source)
    os.mkfifo(source / "pipe")
    apply(root, CopyTree(str(source), str(tmp_path / "run/copy")))
    copy = tmp_path / "run/copy"
    assert (copy / "d/file").read_text() == "secret"
    assert stat.S_IMODE((copy / "d/file").stat().st_mode) == 0o400
    assert sorted(path.name for path in copy.iterdir()) == ["d"]


def test_copies_are_bounded(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "huge"
    source.touch()
    os.truncate(source, 1 << 30)
    with pytest.raises(InvalidArgument, match="MiB"):
        apply(root, CopyTree(str(source), str(tmp_path / "copy")))
