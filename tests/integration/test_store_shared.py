"""One store, used at the same time by the daemon with its pods and by podman, buildah and skopeo."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.storage.check import check
from crio.storage.options import StoreOptions
from crio.storage.store import Store
from images import BUSYBOX_NAME, layer
from images import layout as image_layout
from node import Node, running

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not all(map(shutil.which, ("podman", "buildah", "skopeo"))), reason="needs podman and friends"),
]

_SECONDS = 4.0


class Tools:
    """The other tools, on the node's store."""

    def __init__(self, node: Node) -> None:
        self._node = node
        home = node.root / "home"
        home.mkdir()
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            "XDG_CONFIG_HOME": str(home),
        }

    async def run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        root, run = f"{self._node.root}/storage", f"{self._node.root}/run"
        argv = [program, "--root", root, "--runroot", run, "--storage-driver", "overlay", *arguments]
        return await self._call(argv, check)

    async def skopeo(self, source: str, name: str) -> None:
        target = f"containers-storage:[overlay@{self._node.root}/storage+{self._node.root}/run]{name}"
        await self._call(["skopeo", "--policy", f"{self._node.root}/policy.json", "copy", "-q", source, target], True)

    async def _call(self, argv: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        result = await asyncio.to_thread(
            subprocess.run, argv, capture_output=True, text=True, env=self._environ, check=False, timeout=100
        )
        assert not check or result.returncode == 0, f"{argv}: {result.stderr}"
        return result


@pytest.fixture
async def shared(scratch: Path, layout: str) -> AsyncIterator[tuple[Node, Tools]]:
    node = Node(scratch / "node")
    async with running(node, layout):
        yield node, Tools(node)


async def _images(node: Node) -> set[str]:
    response = await node.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)
    return {name for image in response.images for name in image.repo_tags}


async def _remove(node: Node, name: str) -> None:
    request = pb.RemoveImageRequest(image=pb.ImageSpec(image=name))
    await node.call("RemoveImage", request, pb.RemoveImageResponse)


async def test_everybody_at_once(shared: tuple[Node, Tools], tmp_path: Path) -> None:
    node, tools = shared
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    lasting = [
        await node.create(pod, node.container_config(["sleep", "1000"], name=f"l{i}"), pod_config) for i in range(3)
    ]
    for container in lasting:
        await node.start_container(container)
    theirs = image_layout(str(tmp_path / "theirs"), "localhost/theirs:1", [layer({"x": "1", "y": "2"})])
    ours = image_layout(str(tmp_path / "ours"), "localhost/ours:1", [layer({"a": "1", "b": "2"}), layer({"c": "3"})])
    until = time.monotonic() + _SECONDS
    rounds: dict[str, int] = {}

    async def repeat(work: Callable[[int], Awaitable[object]]) -> None:
        name = getattr(work, "__name__", "")
        while time.monotonic() < until:
            await work(rounds.get(name, 0))
            rounds[name] = rounds.get(name, 0) + 1

    async def pods(number: int) -> None:
        container = await node.create(pod, node.container_config(["true"], name=f"s{number}"), pod_config)
        await node.start_container(container)
        await node.wait_exited(container)
        await node.remove_container(container)

    async def loads(number: int) -> None:
        await node.load(ours)
        await _remove(node, "localhost/ours:1")

    async def skopeo(number: int) -> None:
        await tools.skopeo(f"oci:{theirs}:localhost/theirs:1", f"localhost/theirs:{number}")
        await tools.run("podman", "rmi", f"localhost/theirs:{number}")

    async def podman(number: int) -> None:
        await tools.run("podman", "tag", BUSYBOX_NAME, f"localhost/tag:{number}")
        await tools.run("podman", "untag", BUSYBOX_NAME, f"localhost/tag:{number}")
        refused = await tools.run("podman", "rmi", BUSYBOX_NAME, check=False)
        assert (refused.returncode, "in use" in refused.stderr) == (2, True), refused.stderr

    async def buildah(number: int) -> None:
        working = (await tools.run("buildah", "from", BUSYBOX_NAME)).stdout.strip()
        await tools.run("buildah", "commit", "-q", working, f"localhost/built:{number}")
        await tools.run("buildah", "rm", working)
        await _remove(node, f"localhost/built:{number}")

    async with asyncio.TaskGroup() as group:
        for work in (pods, loads, skopeo, podman, buildah):
            group.create_task(repeat(work))
    assert set(rounds) == {"pods", "loads", "skopeo", "podman", "buildah"}
    # What pods use is spared by their clean-up too, and works.
    await tools.run("podman", "image", "prune", "-af")
    assert await _images(node) == {BUSYBOX_NAME}
    for container in lasting:
        assert (await node.status(container)).state == pb.CONTAINER_RUNNING
        assert (await node.exec(container, "cat", "/etc/hostname")).exit_code == 0
        refused = await tools.run("podman", "rm", container, check=False)
        assert refused.returncode != 0
    with Store.open(StoreOptions(f"{node.root}/storage", f"{node.root}/run")) as store:
        report = check(store, age=-1)
        assert report.healthy, str(report)
        assert {record.id for record in store.containers()} == set(lasting)


async def test_images_go_both_ways(shared: tuple[Node, Tools], tmp_path: Path) -> None:
    """What one has pulled another runs, and what one has removed or named anew another sees at once."""
    node, tools = shared
    source = image_layout(str(tmp_path / "layout"), "localhost/both:1", [layer({"data": "text\n"})])
    await tools.skopeo(f"oci:{source}:localhost/both:1", "localhost/both:1")
    request = pb.ImageStatusRequest(image=pb.ImageSpec(image="localhost/both:1"))
    status = await node.call("ImageStatus", request, pb.ImageStatusResponse)
    assert status.image.id
    await tools.run("podman", "tag", "localhost/both:1", "localhost/both:2")
    assert await _images(node) == {BUSYBOX_NAME, "localhost/both:1", "localhost/both:2"}
    # One name is enough for the kubelet to remove all.
    await _remove(node, "localhost/both:2")
    assert (await tools.run("podman", "images", "-q", "--no-trunc")).stdout.count("sha256:") == 1
    # A name that moves leaves an image without one, which is listed and removed by its id.
    first = await node.load(image_layout(str(tmp_path / "a"), "localhost/moved:1", [layer({"a": "1"})]))
    await tools.skopeo(
        f"oci:{image_layout(str(tmp_path / 'b'), 'localhost/moved:1', [layer({'b': '2'})])}:localhost/moved:1",
        "localhost/moved:1",
    )
    response = await node.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)
    assert {image.id: list(image.repo_tags) for image in response.images}[first] == []
    await _remove(node, first)
    assert first not in (await tools.run("podman", "images", "-q", "--no-trunc")).stdout
    # A working container of buildah keeps its image; the daemon says who.
    working = (await tools.run("buildah", "from", "localhost/moved:1")).stdout.strip()
    with pytest.raises(Exception, match=f"{working}.* uses it"):
        await _remove(node, "localhost/moved:1")
    await tools.run("buildah", "rm", working)
    await _remove(node, "localhost/moved:1")
    assert await _images(node) == {BUSYBOX_NAME}
