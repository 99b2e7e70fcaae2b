from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.linux.sync import sync_file, syncfs


def test_real_files_and_file_systems(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    sync_file(str(tmp_path / "f"))
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        syncfs(fd)
    finally:
        os.close(fd)


def test_errors_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_file(str(tmp_path / "f"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        syncfs(-1)
