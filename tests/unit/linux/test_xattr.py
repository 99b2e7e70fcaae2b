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
        os.setxattr(xattr.path_at(fd, b"link"), b"trusted.x", b"of the link", follow_symlinks=False)
    finally:
        os.close(fd)
    assert os.getxattr(tmp_path / "link", "trusted.x", follow_symlinks=False) == b"of the link"
    assert "trusted.x" not in os.listxattr(tmp_path / "file")


@pytest.mark.parametrize("name", [b"a/b", b"..", b".", b"/"])
def test_only_plain_names(name: bytes) -> None:
    with pytest.raises(ValueError, match="plain name"):
        xattr.path_at(3, name)
