"""Workers in control groups of their own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

import images
from crio.base.errors import InvalidArgument, Unavailable
from crio.image.worker.messages import Pull, Settings, Update
from crio.image.worker.pool import WorkerPool
from crio.linux.cgroup import detect
from crio.sandbox.groups import pod_groups
from crio.sandbox.pull_groups import WorkerGroups
from crio.storage.options import StoreOptions

pytestmark = pytest.mark.root


@pytest.fixture
def parent() -> Iterator[str]:
    name = f"/crtest-{uuid.uuid4().hex[:8]}"
    yield name
    detect().remove(name)


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch, parent: str) -> AsyncIterator[WorkerPool]:
    root = tempfile.mkdtemp(prefix="crio-pool-", dir="/dev/shm")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4] / "src"))
    made = WorkerPool(msgspec.json.encode(StoreOptions(f"{root}/graph", f"{root}/run", sync=False)))
    made.groups = WorkerGroups(pod_groups("cgroupfs", detect()), detect())
    yield made
    await made.stop()
    subprocess.run(["umount", "-lq", f"{root}/graph/overlay"], check=False)
    shutil.rmtree(root)


@pytest.fixture
def request_(tmp_path: Path) -> Pull:
    layout = images.layout(str(tmp_path / "layout"), "localhost/app:1")
    return Pull(0, f"oci:{layout}:localhost/app:1", Settings(temporary_directory=str(tmp_path)))


async def test_each_group_has_a_worker_that_leaves_when_idle(pool: WorkerPool, request_: Pull, parent: str) -> None:
    kernel, groups = detect(), set()

    def on_update(update: Update) -> None:
        pid = pool.pid(parent)
        assert pid is not None
        groups.add((pid, kernel.group_of(pid)))

    both = await asyncio.gather(*(pool.pull(request_, on_update, parent) for _ in range(2)))
    assert both[0] == both[1]
    assert len(groups) == 1, "identical or not, pulls of a group share a worker"
    pid, group = groups.pop()
    assert group == f"{parent}/crio-pull-{pid}"
    assert pool.pid() is None, "the daemon's own group was not needed"
    while os.path.exists(f"/proc/{pid}") or list(kernel.children(parent)):
        await asyncio.sleep(0.05)
    assert pool.pid(parent) is None
    await pool.pull(request_, lambda update: None)
    own = pool.pid()
    assert own is not None
    assert kernel.group_of(own) == kernel.group_of("self")


async def test_a_group_that_cannot_be_is_an_error_of_the_pull(pool: WorkerPool, request_: Pull) -> None:
    with pytest.raises(InvalidArgument, match="cgroup parent"):
        await pool.pull(request_, lambda update: None, "a.slice")
    pid = pool.pid("a.slice")
    while pid is not None and os.path.exists(f"/proc/{pid}"):
        await asyncio.sleep(0.05)
    assert await pool.pull(request_, lambda update: None)


async def test_a_worker_that_its_group_kills_is_told_and_its_group_goes(
    pool: WorkerPool, request_: Pull, parent: str
) -> None:
    kernel = detect()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = msgspec.structs.replace(request_, image=f"127.0.0.1:{silent.getsockname()[1]}/x:1")
        with pytest.raises(Unavailable, match="SIGKILL"):
            await pool.pull(hanging, lambda update: kernel.kill(parent), parent)
    while list(kernel.children(parent)):
        await asyncio.sleep(0.05)
    assert await pool.pull(request_, lambda update: None, parent)
