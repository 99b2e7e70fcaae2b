"""Processes made by clone3(2): what they share, and what the parent is told."""

from __future__ import annotations

import json
import subprocess
import sys

import crio

_SOURCE = crio.__file__.removesuffix("/crio/__init__.py")

# In a process of its own: this one may have threads.
_CODE = """
import ctypes, json, os, select, sys
sys.path.insert(0, sys.argv[1])
from crio.linux.clone import CLONE_CHILD_SETTID, CLONE_FILES, CLONE_PIDFD, Clone

pidfd = (ctypes.c_int * 1)(-1)
clone = Clone(CLONE_PIDFD | CLONE_CHILD_SETTID, pidfd)
read, write = os.pipe()
pid = clone()
if pid == 0:
    os.write(write, json.dumps([os.getpid(), clone.own_pid.value]).encode())
    os._exit(3)
told = json.loads(os.read(read, 100))
select.select([pidfd[0]], [], [])
ended = os.waitid(os.P_PIDFD, pidfd[0], os.WEXITED)
alone = Clone(0)
if (other := alone()) == 0:
    os.close(read)
    os._exit(0)
os.waitpid(other, 0)
still_open = os.fstat(read).st_ino
shared = Clone(CLONE_FILES)
if (other := shared()) == 0:
    os.close(read)
    os._exit(0)
os.waitpid(other, 0)
try:
    os.fstat(read)
    closed = False
except OSError:
    closed = True
print(json.dumps({"pid": pid, "told": told, "status": ended.si_status, "open": still_open > 0, "closed": closed}))
"""


def test_child_knows_its_pid_and_the_parent_has_a_pidfd_and_files_are_shared_if_asked_for() -> None:
    command = [sys.executable, "-I", "-S", "-c", _CODE, _SOURCE]
    facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    assert facts["told"] == [facts["pid"], facts["pid"]]
    assert facts["status"] == 3
    assert facts["open"]
    assert facts["closed"]
