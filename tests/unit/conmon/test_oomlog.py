"""OOM kills as the kernel's log tells them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.conmon.oomlog import killed_for_memory, tells_kill

GROUP = "/kubepods.slice/kubepods-pod1.slice/crio-a1.scope"
KILL = (
    f"6,927,23050000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg={GROUP},"
    f"task_memcg={GROUP},task=sh,pid=1107,uid=0\n"
).encode()
KILLED = b"3,928,23050100,-;Memory cgroup out of memory: Killed process 1107 (sh) total-vm:51444kB, anon-rss:32476kB\n"


def test_by_process() -> None:
    assert tells_kill(KILLED, 1107, "", 23.0)
    assert not tells_kill(KILLED, 110, "", 23.0)
    assert not tells_kill(KILLED, 11071, "", 23.0)


def test_by_group_and_groups_below() -> None:
    assert tells_kill(KILL, 1, GROUP, 23.0)
    assert tells_kill(KILL, 1, "/kubepods.slice/kubepods-pod1.slice", 23.0)
    assert not tells_kill(KILL, 1, GROUP[:-1], 23.0)
    assert not tells_kill(KILL, 1, "", 23.0)


def test_what_was_before_does_not_count() -> None:
    assert not tells_kill(KILLED, 1107, GROUP, 23.2)


@pytest.mark.parametrize(
    "record", [b"", b";", b"6,1;x", b"6,1,abc,-;Memory", b"6,1,99999999,-;Killed process 1107 (sh)"]
)
def test_other_records(record: bytes) -> None:
    assert not tells_kill(record, 1107, GROUP, 0.0)


def test_no_log(tmp_path: Path) -> None:
    assert not killed_for_memory(1107, GROUP, 0.0, str(tmp_path / "none"))


def test_a_log_without_it(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_bytes(KILL)
    assert killed_for_memory(1107, GROUP, 0.0, str(log))
    assert not killed_for_memory(1, "/other", 0.0, str(log))


@pytest.mark.root
def test_the_kernels_own_log_ends() -> None:
    assert not killed_for_memory(os.getpid(), f"/no-such-group-{os.getpid()}", 0.0)
