from __future__ import annotations

from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen import root


def test_ordinary(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    with root.opened(str(tmp_path)) as fd:
        root.check(fd)


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_links_for_kernel_file_systems(tmp_path: Path, name: str) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642."""
    (tmp_path / name).symlink_to("/tmp")
    with root.opened(str(tmp_path)) as fd, pytest.raises(InvalidArgument, match=name):
        root.check(fd)


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), root.opened(str(tmp_path / "none")):
        pass
