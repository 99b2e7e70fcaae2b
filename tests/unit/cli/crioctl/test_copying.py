from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument, NotFound
from crio.cli.crioctl.commands.cp import split
from crio.cli.crioctl.copying import Owner, Tree, container_owner, copy

ME = Owner(os.geteuid(), os.getegid())


class Ends:
    """A container's root at `inside`, and the rest of the machine at `outside`."""

    def __init__(self, path: Path) -> None:
        self.inside, self.outside = path / "inside", path / "outside"
        self.warnings: list[str] = []
        for directory in (self.inside, self.outside):
            directory.mkdir()

    def out(self, path: str, destination: str, owner: Owner = ME) -> None:
        with Tree(str(self.inside), "web") as inside, Tree("/", "") as host:
            copy(inside, path, host, str(self.outside) + "/" + destination, owner, self.warnings.append)

    def into(self, path: str, destination: str, owner: Owner = ME) -> None:
        with Tree(str(self.inside), "web") as inside, Tree("/", "") as host:
            copy(host, str(self.outside / path), inside, destination, owner, self.warnings.append)


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    return Ends(tmp_path)


def test_a_file_out(ends: Ends) -> None:
    source = ends.inside / "a"
    source.write_bytes(b"x" * 3_000_000)
    source.chmod(0o640)
    os.utime(source, ns=(5, 123456789))
    ends.out("/a", "b")
    copy_of = ends.outside / "b"
    assert copy_of.read_bytes() == source.read_bytes()
    assert stat.S_IMODE(copy_of.stat().st_mode) == 0o640
    assert copy_of.stat().st_mtime_ns == 123456789


def test_into_a_directory_keeps_the_name(ends: Ends) -> None:
    (ends.outside / "a").write_text("1")
    (ends.inside / "dir").mkdir()
    ends.into("a", "/dir")
    ends.into("a", "/dir/")
    ends.into("a", "/")
    ends.into("a", "/dir/new")
    assert sorted(str(path.relative_to(ends.inside)) for path in ends.inside.rglob("*")) == [
        "a",
        "dir",
        "dir/a",
        "dir/new",
    ]


def test_a_tree(ends: Ends) -> None:
    tree = ends.inside / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/er/file").write_text("text")
    (tree / "link").symlink_to("/etc/passwd")
    os.mkfifo(tree / "pipe")
    tree.chmod(0o711)
    ends.out("/tree", "copy")
    copy_of = ends.outside / "copy"
    assert (copy_of / "deep/er/file").read_text() == "text"
    assert os.readlink(copy_of / "link") == "/etc/passwd"
    assert not (copy_of / "pipe").exists()
    assert stat.S_IMODE(copy_of.stat().st_mode) == 0o711
    assert ends.warnings == ["web:/tree/pipe is left out: it is a FIFO"]


def test_the_content_of_the_root(ends: Ends) -> None:
    (ends.inside / "a").write_text("1")
    (ends.outside / "here").mkdir()
    ends.out("/", "here")
    assert (ends.outside / "here/a").read_text() == "1"


def test_links_of_the_container_end_in_its_root(ends: Ends) -> None:
    secret = ends.outside / "secret"
    secret.write_text("of the host")
    (ends.inside / "escape").symlink_to(ends.outside)
    (ends.inside / "up").symlink_to("../outside")
    for path in ("/escape/secret", "/up/secret", "/../outside/secret"):
        with pytest.raises(NotFound):
            ends.out(path, "stolen")
    (ends.outside / "new").write_text("new")
    for path in ("/escape/secret", "/up/secret"):
        with pytest.raises(NotFound):
            ends.into("new", path)
    assert secret.read_text() == "of the host"


def test_a_link_as_destination_is_replaced_not_followed(ends: Ends) -> None:
    (ends.outside / "victim").write_text("old")
    (ends.outside / "new").write_text("new")
    (ends.inside / "target").symlink_to(ends.outside / "victim")
    ends.into("new", "/target")
    assert (ends.outside / "victim").read_text() == "old"
    assert (ends.inside / "target").read_text() == "new"
    assert not (ends.inside / "target").is_symlink()


def test_a_link_to_a_directory_in_the_root_is_that_directory(ends: Ends) -> None:
    (ends.inside / "real").mkdir()
    (ends.inside / "link").symlink_to("/real")
    (ends.outside / "a").write_text("1")
    ends.into("a", "/link")
    assert (ends.inside / "real/a").read_text() == "1"


def test_an_existing_file_keeps_its_inode(ends: Ends) -> None:
    (ends.outside / "a").write_text("shorter")
    (ends.inside / "a").write_text("this was longer")
    inode = (ends.inside / "a").stat().st_ino
    ends.into("a", "/a")
    assert (ends.inside / "a").read_text() == "shorter"
    assert (ends.inside / "a").stat().st_ino == inode


def test_a_link_by_name_is_refused(ends: Ends) -> None:
    (ends.inside / "link").symlink_to("/a")
    with pytest.raises(InvalidArgument, match="symbolic link"):
        ends.out("/link", "x")


@pytest.mark.root
def test_owners(ends: Ends) -> None:
    source = ends.outside / "tree"
    source.mkdir()
    (source / "a").write_text("1")
    os.chown(source / "a", 1234, 5678)
    ends.into("tree", "/given", Owner(7, 8))
    ends.into("tree", "/kept", Owner(7, 8, keep=True))
    assert [(ends.inside / name).stat().st_uid for name in ("given", "given/a", "kept/a")] == [7, 7, 1234]
    assert (ends.inside / "kept/a").stat().st_gid == 5678


def test_the_owner_of_a_process_without_a_user_namespace() -> None:
    assert container_owner(os.getpid()) == Owner(0, 0)


@pytest.mark.parametrize(
    ("path", "destination", "error"),
    [("/none", "x", NotFound), ("/file", "dir/none/x", NotFound), ("/file", "other/", InvalidArgument)],
)
def test_what_does_not_work(ends: Ends, path: str, destination: str, error: type[Exception]) -> None:
    (ends.inside / "file").write_text("1")
    (ends.outside / "dir").mkdir()
    (ends.outside / "other").write_text("2")
    with pytest.raises(error, match="cannot copy"):
        ends.out(path, destination)


def test_a_directory_over_a_file(ends: Ends) -> None:
    (ends.inside / "dir").mkdir()
    (ends.outside / "file").write_text("1")
    with pytest.raises(InvalidArgument, match="one is a directory and the other is not"):
        ends.out("/dir", "file")


def test_depth_has_an_end(ends: Ends) -> None:
    path = ends.inside
    for _ in range(205):
        path = path / "d"
    path.mkdir(parents=True)
    with pytest.raises(InvalidArgument, match="more than 200 directories"):
        ends.out("/d", "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web:/etc", ("web", "/etc")),
        ("shop/web:etc", ("shop/web", "/etc")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("file", ("", "file")),
        (":x", ("", ":x")),
    ],
)
def test_split(text: str, expected: tuple[str, str]) -> None:
    assert split(text) == expected
