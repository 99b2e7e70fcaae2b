from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from crio.base.errors import Unavailable
from crio.storage.locks import TOKEN_SIZE, LockFile

HOLDER = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
kind = fcntl.F_WRLCK if sys.argv[2] == "w" else fcntl.F_RDLCK
fcntl.fcntl(fd, fcntl.F_SETLKW, struct.pack("hhqqi4x", kind, 0, 0, 0, 0))
print("held", flush=True)
sys.stdin.read()
"""


def hold(path: Path, kind: str) -> subprocess.Popen[bytes]:
    """Another process with a POSIX lock, as podman takes it."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    return child


def release(child: subprocess.Popen[bytes]) -> None:
    child.communicate()


def test_posix_locks_of_others_are_respected_and_named(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = LockFile(str(path), timeout=0.05)
    child = hold(path, "w")
    try:
        with pytest.raises(Unavailable, match=f"process {child.pid}"), lock.write():
            pass
        with pytest.raises(Unavailable), lock.read():
            pass
    finally:
        release(child)
    with lock.write():
        assert lock.writing
    lock.close()


def test_readers_share(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = LockFile(str(path), timeout=0.05)
    child = hold(path, "r")
    try:
        with lock.read():
            assert not lock.writing
        with pytest.raises(Unavailable), lock.write():
            pass
    finally:
        release(child)
    lock.close()


def test_a_lock_that_is_not_free_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = LockFile(str(path), timeout=60)
    child = hold(path, "w")
    try:
        with lock.try_read() as held:
            assert not held
    finally:
        release(child)
    answers: list[bool] = []

    def ask() -> None:
        with lock.try_read() as held:
            answers.append(held)

    with lock.write():
        # A thread that holds it may take it again, another may not.
        ask()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        assert lock.writing
    ask()
    assert answers == [True, False, True]
    assert not lock.writing
    lock.close()


def test_closing_another_descriptor_keeps_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    mine, other = LockFile(str(path)), LockFile(str(path), timeout=0.05)
    with mine.write():
        path.read_bytes()
        with pytest.raises(Unavailable), other.read():
            pass
    with other.write():
        pass
    mine.close()
    other.close()


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    lock = LockFile(str(tmp_path / "x.lock"))
    inside: list[int] = []
    overlaps: list[int] = []

    def work() -> None:
        for _ in range(50):
            with lock.write():
                inside.append(1)
                if len(inside) > 1:
                    overlaps.append(1)
                time.sleep(0)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not overlaps
    lock.close()


def test_held_again_by_the_same_thread(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock, other = LockFile(str(path)), LockFile(str(path), timeout=0.02)
    with lock.write():
        with lock.read():
            assert lock.writing
        with pytest.raises(Unavailable), other.read():
            pass
    with lock.read(), pytest.raises(AssertionError), lock.write():
        pass
    with other.write():
        pass
    lock.close()
    other.close()


def test_released_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock, other = LockFile(str(path)), LockFile(str(path), timeout=0.02)
    with pytest.raises(RuntimeError), lock.write():
        raise RuntimeError
    with other.write():
        pass
    lock.close()
    other.close()


def test_tokens_are_unique_and_never_change_the_length(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = LockFile(str(path))
    assert lock.token() == b""
    with lock.write():
        tokens = {lock.touch() for _ in range(100)}
    assert len(tokens) == 100
    assert lock.token() in tokens
    assert path.stat().st_size == TOKEN_SIZE
    assert path.stat().st_mode & 0o777 == 0o644
    lock.close()
