from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument, NotFound
from crio.image.errors import BadImage
from crio.image.source.files import DirectoryFiles, Files, open_files


def tree(directory: Path) -> Path:
    (directory / "sub").mkdir(parents=True)
    (directory / "a").write_bytes(b"alpha")
    (directory / "sub" / "b").write_bytes(b"beta" * 100_000)
    return directory


def archive(path: Path, source: Path) -> Path:
    with tarfile.open(path, "w") as out:
        out.add(source, ".")
        for name, target, kind in (
            ("link", "sub/../a", tarfile.SYMTYPE),
            ("sub/hard", "sub/b", tarfile.LNKTYPE),
            ("loop", "loop", tarfile.SYMTYPE),
            ("up", "../../../a", tarfile.SYMTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            out.addfile(info)
    return path


@pytest.fixture(params=["directory", "archive", "gzip"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    source = tree(tmp_path / "tree")
    if request.param == "directory":
        return open_files(str(source), str(tmp_path))
    packed = archive(tmp_path / "tree.tar", source)
    if request.param == "gzip":
        data = packed.read_bytes()
        packed = tmp_path / "tree.tar.gz"
        packed.write_bytes(gzip.compress(data))
    return open_files(str(packed), str(tmp_path))


def test_reading(files: Files) -> None:
    assert files.exists("a")
    assert not files.exists("c")
    assert not files.exists("sub")
    assert files.read("a", 5) == b"alpha"
    assert files.size("sub/b") == 400_000
    assert b"".join(files.stream("sub/b")) == b"beta" * 100_000
    with pytest.raises(BadImage, match="longer than 4"):
        files.read("a", 4)
    with pytest.raises(NotFound):
        files.read("c", 5)
    files.close()


def test_links_in_archives(tmp_path: Path) -> None:
    files = open_files(str(archive(tmp_path / "x.tar", tree(tmp_path / "tree"))), str(tmp_path))
    assert files.read("link", 10) == b"alpha"
    assert files.size("sub/hard") == 400_000
    assert not files.exists("loop")
    # What would climb out stays at the archive's root.
    assert files.read("up", 10) == b"alpha"
    files.close()


def test_directories_are_not_left(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    inside = tmp_path / "inside"
    inside.mkdir()
    os.symlink("../secret", inside / "link")
    files = DirectoryFiles(str(inside))
    for name in ("../secret", "/etc/passwd", "a/../../secret"):
        with pytest.raises(BadImage, match="outside"):
            files.read(name, 10)
    assert not files.exists("link")
    with pytest.raises(OSError, match="symbolic"):
        files.read("link", 10)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tar at all " * 100)
    (tmp_path / "cut").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    os.mkfifo(tmp_path / "fifo")
    for name, error in (("none", NotFound), ("text", BadImage), ("cut", BadImage), ("fifo", InvalidArgument)):
        with pytest.raises(error):
            open_files(str(tmp_path / name), str(tmp_path))


def test_a_cut_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        info = tarfile.TarInfo("big")
        info.size = 10_000
        out.addfile(info, io.BytesIO(b"x" * 10_000))
    (tmp_path / "cut.tar").write_bytes(buffer.getvalue()[:5000])
    with pytest.raises(BadImage):
        b"".join(open_files(str(tmp_path / "cut.tar"), str(tmp_path)).stream("big"))
