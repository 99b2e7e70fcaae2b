"""Groups of image workers, made, left and swept."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest

from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.linux.cgroup import detect
from crio.sandbox.groups import pod_groups
from crio.sandbox.pull_groups import WorkerGroups

pytestmark = pytest.mark.root


@pytest.fixture
def parent() -> Iterator[str]:
    name = f"/crtest-{uuid.uuid4().hex[:8]}"
    yield name
    detect().remove(name)


@pytest.fixture
def worker() -> Iterator[int]:
    """The pid of a process of the test's own: whatever a test gets wrong, no other one is moved."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def groups() -> WorkerGroups:
    return WorkerGroups(pod_groups("cgroupfs", detect()), detect())


async def test_a_worker_has_a_group_while_it_lives(groups: WorkerGroups, parent: str) -> None:
    kernel = detect()
    with subprocess.Popen(["sleep", "1000"]) as worker:
        await groups.place(parent, worker.pid)
        await groups.place(parent.removeprefix("/"), worker.pid)
        assert kernel.group_of(worker.pid) == f"{parent}/crio-pull-{worker.pid}"
        worker.kill()
    await groups.gone(parent, worker.pid)
    assert list(kernel.children(parent)) == []
    await groups.gone(parent, worker.pid)


async def test_what_a_killed_daemon_left_goes_with_the_next_worker(groups: WorkerGroups, parent: str) -> None:
    kernel = detect()
    with subprocess.Popen(["true"]) as ended:
        pass
    for name in (f"crio-pull-{ended.pid}", "crio-pull-x", "other"):
        kernel.create(f"{parent}/{name}")
    with subprocess.Popen(["sleep", "1000"]) as first, subprocess.Popen(["sleep", "1000"]) as second:
        await groups.place(parent, first.pid)
        await groups.place(parent, second.pid)
        expected = {f"crio-pull-{first.pid}", f"crio-pull-{second.pid}", "crio-pull-x", "other"}
        assert set(kernel.children(parent)) == expected
        first.kill()
        second.kill()


@pytest.mark.parametrize("wrong", ["a.slice", "/../../etc", "/a\nb"])
async def test_parents_that_cannot_be(groups: WorkerGroups, worker: int, wrong: str) -> None:
    before = detect().group_of(worker)
    with pytest.raises(InvalidArgument, match="cgroup parent"):
        await groups.place(wrong, worker)
    assert detect().group_of(worker) == before


async def test_a_group_that_cannot_be_made_is_told(groups: WorkerGroups, worker: int, parent: str) -> None:
    detect().create(parent)
    with pytest.raises(FailedPrecondition, match="see separate_pull_cgroup"):
        await groups.place(f"{parent}/cgroup.procs", worker)
