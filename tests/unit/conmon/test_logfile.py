"""The log file's own rules; what needs a container is in test_serving."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from crio.conmon.logfile import LogFile, open_log
from crio.wire.crilog import Buffer


def test_appends_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    log = LogFile(str(path))
    log.write([b"new", memoryview(b" entry\nrest")[:7]])
    log.close(sync=True)
    assert path.read_bytes() == b"old\nnew entry\n"


def test_more_buffers_than_one_call_takes(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    pieces: list[Buffer] = [b"x\n"] * 3000
    log.write(pieces)
    log.close(sync=False)
    assert (tmp_path / "log").read_bytes() == b"x\n" * 3000


def test_reopen(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path))
    log.write([b"1\n"])
    path.rename(tmp_path / "old")
    log.write([b"2\n"])
    log.reopen()
    log.write([b"3\n"])
    log.close(sync=False)
    assert ((tmp_path / "old").read_bytes(), path.read_bytes()) == (b"1\n2\n", b"3\n")
    assert path.stat().st_mode & 0o007 == 0


def test_size_limit_counts_what_was_there_and_keeps_whole_entries(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456\n")
    log = LogFile(str(path), size_max=10)
    log.write([b"ab\ncd\nef\ngh\n"])
    assert path.read_bytes() == b"gh\n"
    log.write([b"an entry that is longer than the limit\n"])
    assert path.read_bytes() == b"an entry that is longer than the limit\n"
    log.write([b"x\n"])
    assert path.read_bytes() == b"x\n"
    log.close(sync=False)
    assert os.listdir(tmp_path) == ["log"]


def test_file_that_cannot_be_opened_drops_until_reopened(tmp_path: Path) -> None:
    directory = tmp_path / "not-yet"
    log = LogFile(str(directory / "log"))
    assert log.error == "No such file or directory"
    log.write([b"lost\n"])
    assert log.dropped == 5
    directory.mkdir()
    log.reopen()
    log.write([b"kept\n"])
    log.close(sync=False)
    assert (directory / "log").read_bytes() == b"kept\n"


def test_no_log() -> None:
    log = LogFile("")
    log.write([b"x\n"])
    log.reopen()
    log.close(sync=True)
    assert (log.dropped, log.error) == (0, "")


def test_fifo_and_symbolic_link_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("fifo", "link"):
        with pytest.raises(OSError, match=name):
            open_log(str(tmp_path / name))
    assert not (tmp_path / "target").exists()


@pytest.mark.root
def test_full_disk_keeps_whole_entries_and_recovers(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)], check=True)
    try:
        log = LogFile(str(tmp_path / "log"))
        log.write([b"%09d\n" % number for number in range(3000)])
        kept = (tmp_path / "log").stat().st_size
        assert kept == 16384 - 16384 % 10
        assert log.dropped == 30_000 - kept
        assert log.error == "No space left on device"
        os.truncate(tmp_path / "log", 0)
        log.reopen()
        log.write([b"again\n"])
        assert (tmp_path / "log").read_bytes() == b"again\n"
        log.close(sync=False)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
