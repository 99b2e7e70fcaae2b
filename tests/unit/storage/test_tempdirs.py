from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from crio.storage.tempdirs import TempDir, remove_stale

OWNER = """
import sys
from crio.storage.tempdirs import TempDir
bin = TempDir(sys.argv[1])
open(bin.new_path("x"), "w").close()
print(bin.path, flush=True)
sys.stdin.read()
"""


def test_names_are_never_given_twice(tmp_path: Path) -> None:
    bin = TempDir(str(tmp_path / "t"))
    names = {bin.new_path("x") for _ in range(10)}
    assert len(names) == 10
    assert all(os.path.dirname(name) == bin.path for name in names)
    bin.close()
    bin.close()
    assert os.listdir(tmp_path / "t") == []


def test_the_living_are_left_alone_and_the_dead_cleaned_up(tmp_path: Path) -> None:
    root = str(tmp_path / "t")
    child = subprocess.Popen([sys.executable, "-c", OWNER, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    path = child.stdout.readline().decode().strip()
    assert remove_stale(root) == 0
    assert os.path.isdir(path)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    mine = TempDir(root)
    assert remove_stale(root) == 1
    assert not os.path.exists(path)
    assert os.path.isdir(mine.path)
    mine.close()


def test_a_directory_whose_lock_is_gone_is_stale(tmp_path: Path) -> None:
    (tmp_path / "temp-dir-x").mkdir()
    (tmp_path / "temp-dir-x" / "f").write_text("")
    (tmp_path / "lock-y").write_text("")
    (tmp_path / "other").mkdir()
    assert remove_stale(str(tmp_path)) == 2
    assert os.listdir(tmp_path) == ["other"]
    assert remove_stale(str(tmp_path / "nowhere")) == 0
