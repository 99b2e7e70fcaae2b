"""Many pods: twenty at once, many in a row, and the daemon as it was before."""

from __future__ import annotations

import asyncio
import os

import pytest

from node import Node, until

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]


async def whole_life(node: Node, name: str, *, host: bool) -> None:
    config = node.pod_config(name)
    if host:
        node.host_network(config)
    pod = await node.run_pod(config)
    container = await node.create(pod, node.container_config(["sh", "-c", "echo begun; exec sleep 1000"]), config)
    await node.start_container(container)
    assert (await node.exec(container, "echo", name)).stdout == f"{name}\n".encode()
    await until("it has begun", lambda: node.log_lines(name) == ["stdout F begun"])
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
    await until("descriptors are closed", lambda: descriptors(node) <= before + 2)


async def test_many_in_a_row_leave_memory_flat(node: Node) -> None:
    for number in range(20):
        await whole_life(node, f"warm-{number}", host=True)
    before, open_before = node.rss(), descriptors(node)
    # A thread or a buffer more comes once; a leak comes each time.
    for turn in range(4):
        for number in range(50):
            await whole_life(node, f"p{turn}-{number}", host=number % 4 != 0)
        grown, before = node.rss() - before, node.rss()
        if grown < 50 * 30:
            break
    else:
        raise AssertionError(f"{grown} KiB more after each 50 pods")
    await until("descriptors are closed", lambda: descriptors(node) <= open_before + 2)
    assert await node.containers() == []
