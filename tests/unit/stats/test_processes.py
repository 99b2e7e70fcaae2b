"""What /proc tells of processes."""

from __future__ import annotations

import gc
import os
import resource
import socket
import subprocess
from pathlib import Path

import pytest

from crio.stats.processes import open_files, read, soft_limit_of_files


def gone() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_open_files_and_sockets() -> None:
    gc.collect()  # or what earlier tests have dropped might be closed in between
    before = open_files(os.getpid())
    with socket.socket(), socket.socket(), open(os.devnull):
        files, sockets = open_files(os.getpid())
    assert (files - before[0], sockets - before[1]) == (3, 2)
    assert open_files(gone()) == (0, 0)


def test_the_soft_limit() -> None:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert soft_limit_of_files(os.getpid()) == (None if soft == resource.RLIM_INFINITY else soft)
    assert soft_limit_of_files(gone()) is None


def test_a_long_file_is_read_whole(tmp_path: Path) -> None:
    assert read("/proc/self/status").count(b"\n") == Path("/proc/self/status").read_bytes().count(b"\n")
    # One of several mebibytes, of which the kernel gives a page at a time.
    assert len(read("/proc/kallsyms")) >= 1 << 20
    (tmp_path / "long").write_bytes(b"x" * 100_000)
    assert len(read(str(tmp_path / "long"))) == 100_000
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "absent"))
