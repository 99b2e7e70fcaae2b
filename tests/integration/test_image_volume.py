"""Images mounted as volumes: their content, what protects them, and what is left of them."""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.status import RpcError
from images import layer
from images import layout as image_layout
from node import Node

pytestmark = pytest.mark.root

DATA = "localhost/data:latest"
FILES = {"models": None, "models/a.txt": "weights\n", "out": "->/models", "host": "->../../../../../../etc"}


@pytest.fixture
async def data(node: Node, tmp_path: Path) -> str:
    """The id of an image with files but without programs."""
    return await node.load(image_layout(str(tmp_path / "data"), DATA, [layer(FILES)]))


def with_volume(node: Node, sub_path: str = "", *, name: str = "ctr", image: str = DATA) -> pb.ContainerConfig:
    config = node.container_config(["sleep", "1000"], name=name)
    mount = pb.Mount(container_path="/data", image=pb.ImageSpec(image=image), readonly=True, image_sub_path=sub_path)
    config.mounts.append(mount)
    return config


async def remove_image(node: Node, image: str) -> None:
    request = pb.RemoveImageRequest(image=pb.ImageSpec(image=image))
    await node.call("RemoveImage", request, pb.RemoveImageResponse)


def stored(node: Node) -> list[str]:
    """Ids of all containers in the store, image volumes included."""
    found = []
    for name in ("containers.json", "volatile-containers.json"):
        with contextlib.suppress(FileNotFoundError):
            found += [row["id"] for row in json.loads((node.root / "storage/overlay-containers" / name).read_text())]
    return found


def overlay_mounts(node: Node) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if f" {node.root}/storage/overlay/" in line]


async def test_content_protection_and_end(node: Node, data: str) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, with_volume(node), pod_config)
    await node.start_container(container)

    assert (await node.exec(container, "cat", "/data/models/a.txt")).stdout == b"weights\n"
    written = await node.exec(container, "touch", "/data/new")
    assert written.exit_code != 0
    assert b"Read-only file system" in written.stderr
    (mount,) = (await node.status(container)).mounts
    assert (mount.container_path, mount.readonly, mount.image.image, mount.image.image_ref) == (
        "/data",
        True,
        DATA,
        data,
    )
    with pytest.raises(RpcError, match="uses it"):
        await remove_image(node, DATA)

    # Another daemon takes the volume over with the container.
    node.kill()
    await node.close_client()
    await node.start()
    assert (await node.exec(container, "cat", "/data/models/a.txt")).stdout == b"weights\n"
    await node.remove_container(container)
    assert stored(node) == []
    assert overlay_mounts(node) == []
    await remove_image(node, DATA)


@pytest.mark.parametrize(
    ("sub_path", "shows"), [("models", "a.txt"), ("out", "a.txt"), ("models/a.txt", "/data"), (".", "host")]
)
@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_sub_path_is_mounted_alone(node: Node, data: str, sub_path: str, shows: str) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, with_volume(node, sub_path), pod_config)
    await node.start_container(container)
    listed = (await node.exec(container, "ls", "/data")).stdout.decode().split()
    assert shows in listed
    assert ("models" in listed) == (sub_path == ".")


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_what_cannot_be_mounted_leaves_nothing(node: Node, data: str) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    writable = with_volume(node)
    writable.mounts[0].readonly = False
    for config, reason in (
        (with_volume(node, "absent"), "does not exist"),
        (with_volume(node, "../.."), r"'\.\.'"),
        # The image's own link, that seems to lead to the host's /etc, ends at the image's root.
        (with_volume(node, "host"), "does not exist"),
        (with_volume(node, image="localhost/absent:latest"), "not on this node"),
        (writable, "not read-only"),
    ):
        with pytest.raises(RpcError, match=f"ImageVolumeMountFailed: .*{reason}"):
            await node.create(pod, config, pod_config)
        assert stored(node) == []
        assert overlay_mounts(node) == []


@pytest.mark.parametrize("point", ["container.image_volume.made", "container.create.after_storage"])
@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_crash_leaves_no_volume(node: Node, data: str, point: str) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    await node.stop()
    await node.start(failpoints=f"{point}=kill")
    with contextlib.suppress(Exception):
        await node.create(pod, with_volume(node), pod_config)
    assert node.process is not None
    assert node.process.wait(timeout=60) == -signal.SIGKILL
    # Of one the record is lost as well.
    if point == "container.image_volume.made":
        (directory,) = (node.root / "state" / "containers").iterdir()
        (directory / "container.json").unlink()
    await node.close_client()
    await node.start()
    assert stored(node) == []
    assert overlay_mounts(node) == []
