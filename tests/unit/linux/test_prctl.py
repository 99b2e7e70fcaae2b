"""What a process sets about itself, seen from outside."""

from __future__ import annotations

import subprocess
import sys

import crio

_SOURCE = crio.__file__.removesuffix("/crio/__init__.py")


def _run(code: str) -> str:
    command = [sys.executable, "-c", f"import os, sys, time\nsys.path.insert(0, {_SOURCE!r})\n{code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_orphans_come_to_a_subreaper() -> None:
    output = _run(
        """
from crio.linux.prctl import set_child_subreaper
set_child_subreaper()
read_end, write_end = os.pipe()
child = os.fork()
if child == 0:
    if os.fork() == 0:
        os.read(read_end, 1)
        print(os.getppid(), flush=True)
        os._exit(0)
    os._exit(0)
os.waitpid(child, 0)
os.write(write_end, b"x")
os.wait()
print(os.getpid())
"""
    )
    orphan_parent, own = output.split()
    assert orphan_parent == own


def test_name() -> None:
    output = _run(
        """
from crio.linux.prctl import set_name
set_name("a-name-of-twenty-chars")
print(open("/proc/self/comm").read())
"""
    )
    assert output.strip() == "a-name-of-twent"


def test_death_with_the_parent() -> None:
    output = _run(
        """
from crio.linux.prctl import set_child_subreaper, set_parent_death_signal
set_child_subreaper()
read_end, write_end = os.pipe()
parent = os.fork()
if parent == 0:
    ready, told = os.pipe()
    if os.fork() == 0:
        set_parent_death_signal(9)
        os.write(told, b"x")
        time.sleep(1000)
    os.read(ready, 1)
    os._exit(0)
os.waitpid(parent, 0)
_, status = os.wait()
print(os.WTERMSIG(status))
"""
    )
    assert output.strip() == "9"
