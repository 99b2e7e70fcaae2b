from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.linux import xattr

pytestmark = pytest.mark.root


def test_attributes_of_a_link_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        xattr.set_at(fd, b"link", b"trusted.x", b"of the link")
        xattr.set_at(fd, b"file", b"trusted.x", b"of the file")
        assert xattr.get_at(fd, b"link", b"trusted.x") == b"of the link"
        assert xattr.read_all_at(fd, b"file") == {"trusted.x": b"of the file"}
        with pytest.raises(OSError, match="No data"):
            xattr.get_at(fd, b"file", b"trusted.y")
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", [b"a/b", b"..", b".", b"/"])
def test_only_plain_names(name: bytes) -> None:
    with pytest.raises(ValueError, match="plain name"):
        xattr.path_at(3, name)
