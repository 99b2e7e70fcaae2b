"""Atomic files and bounded reads."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crio.base import failpoints, files
from crio.base.errors import Internal, ResourceExhausted
from crio.base.files import read_bounded, remove_temporaries, write_atomic


def test_replaces_whole_with_mode(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write_atomic(str(path), b"old")
    write_atomic(str(path), b"new content", mode=0o644, durable=True)
    assert path.read_bytes() == b"new content"
    assert path.stat().st_mode & 0o7777 == 0o644
    assert os.listdir(tmp_path) == ["record"]


def test_a_failure_keeps_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write_atomic(str(path), b"old")
    failpoints.configure("files.write_atomic.before_rename=error")
    try:
        with pytest.raises(Internal, match="failpoint"):
            write_atomic(str(path), b"new")
    finally:
        failpoints.configure("")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["record"]


def _killed_before_rename(path: Path) -> None:
    program = f"from crio.base.files import write_atomic; write_atomic({str(path)!r}, b'x')"
    environment = {**os.environ, "CRIO_FAILPOINTS": "files.write_atomic.before_rename=kill"}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == -signal.SIGKILL


def test_what_a_killed_writer_leaves_is_removed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _killed_before_rename(tmp_path / name)
    write_atomic(str(tmp_path / "record"), b"")
    assert len(os.listdir(tmp_path)) == 3
    remove_temporaries(str(tmp_path), "one")
    assert len(os.listdir(tmp_path)) == 2
    remove_temporaries(str(tmp_path))
    assert os.listdir(tmp_path) == ["record"]
    remove_temporaries(str(tmp_path / "missing"))


def test_read_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_bounded(str(path), 100) == b"x" * 100
    with pytest.raises(ResourceExhausted, match="longer than 99 bytes"):
        read_bounded(str(path), 99)


def test_endless_file_is_cut_off() -> None:
    with pytest.raises(ResourceExhausted):
        read_bounded("/dev/zero", 1 << 20)


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert read_bounded(str(tmp_path / "fifo"), 10) == b""


def test_only_want_of_room_is_gone_past(caplog: pytest.LogCaptureFixture) -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        with files.even_if_full("the note"):
            raise OSError(number, os.strerror(number))
    assert caplog.text.count("going on without the note") == 2
    with pytest.raises(OSError, match="Input"), files.even_if_full("the note"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert not files.is_full(ValueError())
