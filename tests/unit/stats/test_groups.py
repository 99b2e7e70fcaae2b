"""Groups that are read again and again."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest

from crio.linux.cgroup import CgroupFs, Use, detect
from crio.stats.groups import Groups
from open_files import open_files

pytestmark = pytest.mark.root


@pytest.fixture
def cgroups() -> CgroupFs:
    return detect()


@pytest.fixture
def path(cgroups: CgroupFs) -> Iterator[str]:
    path = f"/crio-unit-{uuid.uuid4().hex}"
    cgroups.create(path)
    yield path
    cgroups.kill(path)
    cgroups.remove(path)


def test_each_reading_is_new_and_has_its_time(cgroups: CgroupFs, path: str) -> None:
    groups = Groups(cgroups)
    group = groups.get(path)
    assert (group.use, group.at) == (Use(), float("-inf"))
    with subprocess.Popen(["sh", "-c", "read go; while :; do :; done"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        cgroups.add(path, child.pid)
        before, wall = time.monotonic(), time.time_ns()
        group.read(processes=True)
        assert before <= group.at <= time.monotonic()
        assert wall <= group.now <= time.time_ns()
        assert (group.processes, group.rate) == (1, None)
        first, end = group.use.cpu, time.monotonic() + 30
        assert first is not None
        child.stdin.close()
        while (group.use.cpu or 0) < first + 100_000_000 or not group.rate:
            assert time.monotonic() < end
            time.sleep(0.05)
            assert groups.get(path) is group
            group.read()
        child.kill()
    groups.forget(float("inf"))


def test_a_group_that_goes_and_comes_again(cgroups: CgroupFs, path: str) -> None:
    groups = Groups(cgroups)
    group = groups.get(path)
    group.read()
    assert group.use.cpu is not None
    cgroups.remove(path)
    group.read()
    assert group.use == Use()
    cgroups.create(path)
    group.read()
    assert group.use.cpu is not None
    groups.forget(float("inf"))


def test_what_was_not_read_for_long_is_closed(cgroups: CgroupFs, path: str) -> None:
    before = open_files()
    groups = Groups(cgroups)
    groups.get(path).read()
    held = open_files()
    assert held > before
    groups.forget(time.monotonic() - 3600)
    assert (len(groups), open_files()) == (1, held)
    groups.forget(time.monotonic() + 1)
    assert (len(groups), open_files()) == (0, before)


def test_few_are_held_open_where_few_files_may_be(
    cgroups: CgroupFs, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (8, 8))
    before = open_files()
    groups = Groups(cgroups)
    groups.get("/crio-unit-absent").read()
    group = groups.get(path)
    for _ in range(2):
        group.read()
        assert group.use.cpu is not None
        assert open_files() == before
