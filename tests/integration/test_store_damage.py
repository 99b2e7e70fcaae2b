"""What the disk loses of an image comes back by itself, and what it cannot bring back is said."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.rpc.status import RpcError
from images import layer
from images import layout as image_layout
from node import Node, running
from registry_server import registry

pytestmark = pytest.mark.root

BUSYBOX = Path("/bin/busybox")


@pytest.fixture
async def lossy(scratch: Path, tmp_path: Path) -> AsyncIterator[tuple[Node, str, str]]:
    """A daemon, the name of an image of three layers in a registry, and the directory of the registry's blobs."""
    layers = [
        layer({"bin": None, "bin/busybox": BUSYBOX.read_bytes()}, mode=0o755),
        layer({"bin/sh": "->busybox", "bin/cat": "->busybox", "bin/sleep": "->busybox"}),
        layer({"data": "kept\n"}),
    ]
    source = image_layout(str(tmp_path / "layout"), layers=layers)
    with registry(str(tmp_path / "registry")) as served:
        served.push(f"oci:{source}:localhost/test:latest", "team/app:1")
        node = Node(scratch / "node")
        (node.root / "registries.conf").write_text(f'[[registry]]\nlocation = "{served.host}"\ninsecure = true\n')
        async with running(node):
            yield node, f"{served.host}/team/app:1", served.directory


async def test_lost_layers_are_fetched_when_a_container_needs_them(lossy: tuple[Node, str, str]) -> None:
    node, name, blobs = lossy
    request = pb.PullImageRequest(image=pb.ImageSpec(image=name))
    image = (await node.call("PullImage", request, pb.PullImageResponse)).image_ref
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)

    def config(container: str) -> pb.ContainerConfig:
        return node.container_config(["/bin/cat", "/data"], name=container, image=name)

    first = await node.create(pod, config("first"), pod_config)
    overlay = node.root / "storage/overlay"
    own = {path.name for path in overlay.iterdir() if (path / "diff/bin/sh").is_symlink()}
    base = {path.name for path in overlay.iterdir() if (path / "diff/bin/busybox").is_file()}
    for lost in (*own, *base):
        shutil.rmtree(overlay / lost)
    second = await node.create(pod, config("second"), pod_config)
    await node.start_container(second)
    assert (await node.wait_exited(second)).exit_code == 0
    assert node.log_lines(pod_config.metadata.name, "second") == ["stdout F kept"]
    assert (await node.status(second)).image_id == image
    assert "is damaged, and fetched again" in (node.root / "crio.log").read_text()
    assert {path.name for path in overlay.iterdir()} >= own | base
    # Whoever was mounted on them before went on, and the image is one as before.
    await node.remove_container(first)
    images = await node.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)
    assert [found.id for found in images.images] == [image]
    # What the origin no longer has is lost: an error that says so, and nothing is left of the container.
    shutil.rmtree(overlay / next(iter(base)))
    shutil.rmtree(blobs)
    with pytest.raises(RpcError, match=f"cannot restore image {image}") as raised:
        await node.create(pod, config("third"), pod_config)
    assert raised.value.code is Code.DATA_LOSS
    assert len(await node.containers()) == 1
