"""Who owns what in a pod with a user namespace, and what is refused rather than changed (decision 010)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.image.assemble import write_layout
from crio.rpc.status import RpcError
from crio.spec.oci_image import RunConfig
from images import config as image_config
from images import layer
from node import Node, running

pytestmark = pytest.mark.root

FIRST, SIZE = 1_000_000, 65536
IMAGE = "localhost/declares:latest"


@pytest.fixture
async def node(request: pytest.FixtureRequest, scratch: Path) -> AsyncIterator[Node]:
    made = Node(scratch / "node")
    (made.root / "conf.d" / "volumes.conf").write_text(
        f'[crio.image]\nimage_volumes = "{getattr(request, "param", "mkdir")}"\n'
    )
    busybox = Path("/bin/busybox").read_bytes()
    files = layer({"bin": None, "bin/busybox": busybox, "bin/sh": busybox}, mode=0o755)
    run = RunConfig(cmd=("/bin/busybox", "sleep", "600"), user="1000:1001", volumes={"/var/data": {}})
    layout = write_layout(str(scratch / "layout"), {IMAGE: (image_config(run), [files])})
    async with running(made, layout):
        yield made


def pod_config(node: Node) -> pb.PodSandboxConfig:
    config = node.host_network(node.pod_config())
    options = config.linux.security_context.namespace_options.userns_options
    options.mode = pb.POD
    options.uids.add(host_id=FIRST, container_id=0, length=SIZE)
    options.gids.add(host_id=FIRST, container_id=0, length=SIZE)
    return config


def mount(source: str, *, mapped: bool) -> pb.Mount:
    found = pb.Mount(host_path=source, container_path="/mnt")
    if mapped:
        found.uidMappings.add(host_id=FIRST, container_id=0, length=SIZE)
        found.gidMappings.add(host_id=FIRST, container_id=0, length=SIZE)
    return found


async def started(node: Node, *mounts: pb.Mount, name: str = "pod") -> str:
    pods = pod_config(node)
    pods.metadata.name = name
    config = node.container_config([], image=IMAGE)
    config.mounts.extend(mounts)
    container = await node.create(await node.run_pod(pods), config, pods)
    await node.start_container(container)
    return container


@pytest.mark.parametrize("node", ["mkdir", "bind"], indirect=True)
async def test_volumes_that_an_image_declares_belong_to_its_user(node: Node) -> None:
    container = await started(node)
    script = "busybox stat -c %u:%g /var/data && echo mine > /var/data/file && busybox stat -c %u:%g /var/data/file"
    answer = await node.exec(container, "/bin/sh", "-c", f"export PATH=/bin; {script}")
    assert answer.stdout.split() == [b"1000:1001"] * 2, answer.stderr


async def test_what_is_the_hosts_is_mounted_as_it_is_or_refused(node: Node) -> None:
    (node.root / "data").mkdir()
    (node.root / "data" / "file").write_text("shared\n")
    os.chmod(node.root / "data" / "file", 0o644)
    container = await started(node, mount(str(node.root / "data"), mapped=False))
    answer = await node.exec(container, "/bin/busybox", "stat", "-c", "%u:%g", "/mnt/file")
    assert answer.stdout.split() == [b"65534:65534"], answer.stderr
    assert (await node.exec(container, "/bin/busybox", "cat", "/mnt/file")).stdout == b"shared\n"
    assert (node.root / "data" / "file").stat().st_uid == 0

    with pytest.raises(RpcError) as caught:
        await started(node, mount("/proc/tty", mapped=True), name="refused")
    assert caught.value.code == Code.FAILED_PRECONDITION
    for words in ("cannot mount /proc/tty", "(proc)", "use a volume on another file system, or hostUsers: true"):
        assert words in str(caught.value)
    assert [found.id for found in await node.containers()] == [container]
