"""Pods and containers of a configuration that has changed since."""

from __future__ import annotations

from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.linux.cgroup import detect
from node import CGROUP_MANAGER, PATIENCE, Node, running

pytestmark = pytest.mark.root


def change(node: Node, before: str, after: str) -> None:
    path = node.root / "crio.conf"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


async def started(node: Node, config: pb.PodSandboxConfig, handler: str = "") -> tuple[str, str]:
    pod = await node.run_pod(config, handler)
    container = await node.create(pod, node.container_config(["sleep", "600"]), config)
    await node.start_container(container)
    return pod, container


async def test_another_cgroup_manager(scratch: Path, layout: str) -> None:
    made = Node(scratch / "node")
    change(made, f'cgroup_manager = "{CGROUP_MANAGER}"', 'cgroup_manager = "cgroupfs"')
    parent = f"/crio-test-{made.tag}"
    try:
        async with running(made, layout) as node:
            config = node.pod_config(cgroup_parent=f"{parent}/pod1")
            pod, container = await started(node, config)
            await node.stop()
            change(node, 'cgroup_manager = "cgroupfs"', 'cgroup_manager = "systemd"')
            await node.start()
            request = pb.ListPodSandboxStatsRequest()
            stats = (await node.call("ListPodSandboxStats", request, pb.ListPodSandboxStatsResponse)).stats
            assert [each.attributes.id for each in stats] == [pod]
            assert stats[0].linux.process.process_count.value >= 1
            await node.stop_container(container)
            await node.stop_pod(pod)
            assert not node.leases()
            await node.remove_pod(pod)
            assert not detect().exists(f"{parent}/pod1/crio-{pod}")
    finally:
        detect().remove(parent, timeout=PATIENCE)
