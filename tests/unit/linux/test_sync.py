from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.linux.sync import sync_file, sync_file_systems, syncfs


def test_real_files_and_file_systems(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    sync_file(str(tmp_path / "f"))
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        syncfs(fd)
    finally:
        os.close(fd)


def test_each_file_system_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def counted(fd: int) -> None:
        written.append(os.fstat(fd).st_dev)
        syncfs(fd)

    monkeypatch.setattr("crio.linux.sync.syncfs", counted)
    (tmp_path / "a").mkdir()
    sync_file_systems([str(tmp_path), str(tmp_path / "a"), "/dev/shm", str(tmp_path / "missing")])
    assert written == list(dict.fromkeys(os.stat(path).st_dev for path in (tmp_path, "/dev/shm")))


def test_errors_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_file(str(tmp_path / "f"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        syncfs(-1)
