"""Many pods: twenty at once, a hundred in a row, and the daemon as it was before."""

from __future__ import annotations

import asyncio
import os

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from node import Node

pytestmark = [pytest.mark.root, pytest.mark.slow]


async def whole_life(node: Node, name: str, *, host: bool) -> None:
    config = node.pod_config(name)
    if host:
        node.host_network(config)
    pod = await node.run_pod(config)
    container = await node.create(pod, node.container_config(["sh", "-c", "echo begun; exec sleep 1000"]), config)
    await node.start_container(container)
    assert (await node.exec(container, "echo", name, timeout=60)).stdout == f"{name}\n".encode()
    await node.stop_container(container)
    assert (await node.status(container)).exit_code == 137
    await node.stop_pod(pod)
    await node.remove_pod(pod)
    assert node.log_lines(name) == ["stdout F begun"]


def descriptors(node: Node) -> int:
    assert node.process is not None
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


async def test_twenty_at_once(node: Node) -> None:
    await whole_life(node, "first", host=False)
    before = descriptors(node)
    for turn in range(2):
        await asyncio.gather(*(whole_life(node, f"p{turn}-{number}", host=False) for number in range(20)))
    assert await node.pods() == []
    assert descriptors(node) <= before + 2


async def test_a_hundred_in_a_row_leave_memory_flat(node: Node) -> None:
    for number in range(20):
        await whole_life(node, f"warm-{number}", host=True)
    before, open_before = node.rss(), descriptors(node)
    for number in range(100):
        await whole_life(node, f"p-{number}", host=number % 4 != 0)
    assert descriptors(node) <= open_before + 2
    assert node.rss() < before + 3 * 1024
    listed = await node.call("ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse)
    assert list(listed.containers) == []
