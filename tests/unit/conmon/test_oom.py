"""Memory cgroups: which one it is, and what its counter says. Real OOM kills are in test_serving."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.conmon.oom import arm, count_kills, find_memory_cgroup


def test_own_memory_cgroup_is_a_directory_of_the_hierarchy() -> None:
    directory = find_memory_cgroup(os.getpid())
    assert directory.startswith("/sys/fs/cgroup/")


def test_no_process_has_no_cgroup() -> None:
    assert find_memory_cgroup(2**22 + 1) == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("low 0\nhigh 0\nmax 7\noom 1\noom_kill 3\noom_group_kill 0\n", 3),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2),
        ("oom_kill_disable 0\nunder_oom 1\n", 0),
        ("", 0),
    ],
)
def test_counter_of_both_versions(tmp_path: Path, content: str, expected: int) -> None:
    (tmp_path / "counter").write_text(content)
    assert count_kills(str(tmp_path / "counter")) == expected


def test_absent_counter() -> None:
    assert count_kills("") == 0
    assert count_kills("/no/such/file") == 0


def test_version_2_is_recognized_by_its_file(tmp_path: Path) -> None:
    assert arm(str(tmp_path), -1) == (0, "")
    assert arm("", -1) == (0, "")
    (tmp_path / "memory.events").write_text("oom_kill 0\n")
    assert arm(str(tmp_path), -1) == (2, f"{tmp_path}/memory.events")


def test_version_1_without_event_control_still_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.oom_control").write_text("oom_kill 1\n")
    assert arm(str(tmp_path), -1) == (1, f"{tmp_path}/memory.oom_control")
