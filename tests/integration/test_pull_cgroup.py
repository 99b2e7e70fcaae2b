"""separate_pull_cgroup: what a pull takes is accounted to the pod that needs the image."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.linux.cgroup import detect
from crio.sandbox.cgroups import parent_path
from images import layout as image_layout
from node import CGROUP_MANAGER, PATIENCE, Node, until

pytestmark = pytest.mark.root


@pytest.fixture
def parent() -> Iterator[str]:
    stem = f"crtest{uuid.uuid4().hex[:8]}"
    name = f"{stem}.slice" if CGROUP_MANAGER == "systemd" else f"/{stem}"
    yield name
    detect().remove(parent_path(name), timeout=PATIENCE)


async def test_a_pods_image_is_pulled_in_the_pods_group(scratch: Path, tmp_path: Path, parent: str) -> None:
    layout, kernel = image_layout(str(tmp_path / "layout"), "localhost/app:1"), detect()
    node = Node(scratch / "node", settings='separate_pull_cgroup = "pod"')

    def workers() -> list[int]:
        return node.children(b"crio.image.worker")

    try:
        await node.start(failpoints="image.worker.job=sleep(0.5)")
        config = node.pod_config(cgroup_parent=parent)
        image = pb.ImageSpec(image=f"oci:{layout}:localhost/app:1")
        request = pb.PullImageRequest(image=image, sandbox_config=config)
        pull = asyncio.create_task(node.call("PullImage", request, pb.PullImageResponse))
        path = parent_path(parent)
        await until("the worker is in the group", lambda: pull.done() or kernel.processes(path))
        assert not pull.done()
        (worker,) = workers()
        assert kernel.processes(path) == [worker]
        assert kernel.is_in(path, worker)
        pulled = (await pull).image_ref
        # It keeps no pod's group from being removed.
        await until("the worker is gone with its group", lambda: not workers() and not any(kernel.children(path)))
        # What no pod asks for is pulled in the daemon's own group.
        again = await node.call("PullImage", pb.PullImageRequest(image=image), pb.PullImageResponse)
        assert again.image_ref == pulled
        (own,) = workers()
        assert kernel.group_of(own) == kernel.group_of(node.process.pid if node.process else "self")
        assert await node.stop() == 0
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()
        node.remove_files()
