"""Images of a storm: pulled from a registry and removed by all clients at once, while containers are made of them."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError
from images import BUSYBOX, layer, layout
from node import Node
from registry_server import registry
from storm.model import Wrong

_IMAGES, _LAYERS, _FILES, _BYTES = 4, 3, 40, 4096
_PULL_SECONDS = 60.0


@dataclass(frozen=True)
class Images:
    """Names of images in a registry that the node may ask. They share layers, and each can run the storm's programs."""

    names: Sequence[str]

    async def check_and_clear(self, node: Node) -> None:
        """With a daemon that is left alone: each image can be pulled, is whole, and can be removed. Raises Wrong."""
        for name in self.names:
            image = pb.ImageSpec(image=name)
            try:
                await node.call("PullImage", pb.PullImageRequest(image=image), pb.PullImageResponse, _PULL_SECONDS)
                await _check(node, name)
            except CrioError as error:
                raise Wrong(f"image {name} after the storm: {error.message}") from None
        for name in self.names:
            request = pb.RemoveImageRequest(image=pb.ImageSpec(image=name))
            await node.call("RemoveImage", request, pb.RemoveImageResponse, _PULL_SECONDS)


async def _check(node: Node, name: str) -> None:
    """Every file of its last layer is there, as it was made."""
    config = node.host_network(node.pod_config("check"))
    pod = await node.run_pod(config)
    try:
        number = int(name.rpartition(":")[2])
        wanted = f"{number} {_FILES} {_FILES * _BYTES * _LAYERS}"
        script = "echo $(cat /own) $(ls /data/own | wc -l) $(cat /data/*/* | wc -c)"
        container = await node.create(pod, node.container_config(["sleep", "1000"], image=name), config)
        await node.start_container(container)
        told = (await node.exec(container, "sh", "-c", script)).stdout.decode().strip()
        if told != wanted:
            raise Wrong(f"image {name} has {told!r}, and must have {wanted!r}")
    finally:
        await node.remove_pod(pod)


@contextlib.contextmanager
def served(node: Node) -> Iterator[Images]:
    """A registry with the images, which the node is told of."""
    with tempfile.TemporaryDirectory() as directory, registry(f"{directory}/registry") as running:
        path = node.root / "registries.conf"
        path.write_text(f'[[registry]]\nlocation = "{running.host}"\ninsecure = true\n')
        names = []
        for number in range(_IMAGES):
            layout(f"{directory}/{number}", f"storm:{number}", _layers(number))
            running.push(f"oci:{directory}/{number}:storm:{number}", f"storm:{number}")
            names.append(f"{running.host}/storm:{number}")
        yield Images(names)


def _layers(number: int) -> list[bytes]:
    """busybox, layers that all images have, and one of its own."""
    with open(BUSYBOX, "rb") as file:
        program = file.read()
    applets = ("sh", "sleep", "true", "echo", "cat", "ls", "wc")
    links = {f"bin/{name}": "->busybox" for name in applets}
    first = layer({"bin": None, "bin/busybox": program, **links, "tmp": None, "data": None}, mode=0o755)
    shared = [_data(f"shared{each}", each) for each in range(_LAYERS - 1)]
    return [first, *shared, _data("own", 100 + number, own=str(number))]


def _data(name: str, seed: int, **files: str) -> bytes:
    source = random.Random(seed)
    content: dict[str, bytes | str | None] = {f"data/{name}": None}
    for each in range(_FILES):
        content[f"data/{name}/{each}"] = source.randbytes(_BYTES)
    return layer({**content, **files})


def is_there() -> bool:
    """Whether this machine can serve images."""
    return os.path.exists("/usr/bin/docker-registry") and os.path.exists("/usr/bin/skopeo")
