"""Pods on every storage driver, through a restart of the daemon."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contract import store_drivers
from crio.api.runtime.v1 import api_pb2 as pb
from crio.linux.mount import mounts_below
from node import Node, running

pytestmark = pytest.mark.root

_LIMITS = {"btrfs": 'storage_option = ["btrfs.size=8M"]'}


@pytest.fixture(params=[kind for kind in store_drivers.KINDS if kind != "overlay"])
def ground(request: pytest.FixtureRequest, scratch: Path) -> Iterator[tuple[str, Path]]:
    kind: str = request.param
    if store_drivers.missing(kind):
        pytest.skip(f"needs {store_drivers.missing(kind)}")
    with store_drivers.file_system(kind, scratch) as place:
        yield kind, place / "node"
        shutil.rmtree(place / "node", ignore_errors=True)


@pytest.fixture
async def driven(ground: tuple[str, Path], layout: str) -> AsyncIterator[tuple[str, Node]]:
    kind, root = ground
    driver, options = store_drivers.KINDS[kind]
    node = Node(root)
    given = f"storage_option = {list(options)!r}".replace("'", '"') if options else _LIMITS.get(kind, "")
    (root / "conf.d/10-storage.conf").write_text(f'[crio]\nstorage_driver = "{driver}"\n{given}\n')
    async with running(node, layout):
        yield kind, node
        await node.remove_all_pods()
        assert await node.stop() == 0
        assert [info.mount_point for info in mounts_below(str(root / "storage"))] == []


async def test_containers_run_and_survive_a_restart(driven: tuple[str, Node]) -> None:
    kind, node = driven
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    await node.start_container(container)
    write = "echo kept > /root-file && rm /etc/group && mkdir -p /a/b && dd if=/dev/zero of=/a/big bs=1M count=2"
    assert (await node.exec(container, "sh", "-c", write)).exit_code == 0
    node.kill()
    await node.start()
    answer = await node.exec(container, "sh", "-c", "cat /root-file; ls /etc/group")
    assert answer.stdout == b"kept\n"
    assert b"No such file" in answer.stderr
    if kind in _LIMITS:
        full = await node.exec(container, "sh", "-c", "dd if=/dev/urandom of=/full bs=1M count=32 conv=fsync")
        assert (full.exit_code, b"quota" in full.stderr) == (1, True)
    # Another container of the image has none of it.
    other = await node.create(pod, node.container_config(["ls", "/etc/group"], name="other"), pod_config)
    await node.start_container(other)
    assert (await node.wait_exited(other)).exit_code == 0
    stats = await node.call(
        "ContainerStats", pb.ContainerStatsRequest(container_id=container), pb.ContainerStatsResponse
    )
    assert stats.stats.writable_layer.used_bytes.value >= 2 << 20
