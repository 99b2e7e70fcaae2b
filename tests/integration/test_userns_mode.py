"""Pods that ask for a user namespace by annotation, where a workload allows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.status import RpcError
from node import Node, running

pytestmark = pytest.mark.root

SETTINGS = """
[crio.runtime.workloads.builder]
activation_annotation = "io.openshift.builder"
allowed_annotations = ["io.kubernetes.cri-o.userns-mode"]
"""
FIRST = 1_000_000


@pytest.fixture
async def node(scratch: Path, layout: str) -> AsyncIterator[Node]:
    async with running(Node(scratch / "node", settings=SETTINGS), layout) as made:
        yield made


def pod_config(node: Node, mode: str, name: str = "pod", *, allowed: bool = True) -> pb.PodSandboxConfig:
    config = node.host_network(node.pod_config(name))
    # A kubelet says so of every pod without hostUsers: false.
    config.linux.security_context.namespace_options.userns_options.mode = pb.NODE
    config.annotations["io.kubernetes.cri-o.userns-mode"] = mode
    if allowed:
        config.annotations["io.openshift.builder"] = "true"
    return config


async def map_of(node: Node, config: pb.PodSandboxConfig) -> list[list[int]]:
    """The first container's map of users; the pod shares its processes, which takes the last id of the map."""
    pod = await node.run_pod(config)
    container = await node.create(pod, node.container_config(["sleep", "600"]), config)
    await node.start_container(container)
    answer = await node.exec(container, "sh", "-c", "cat /proc/self/uid_map; echo x > /etc/x; stat -c %u /etc/x")
    *lines, owner = answer.stdout.decode().splitlines()
    assert owner == "0", answer.stderr
    await node.remove_pod(pod)
    return [[int(number) for number in line.split()] for line in lines]


async def test_given_ids(node: Node) -> None:
    config = pod_config(node, f"private:uidmapping=0:{FIRST}:100,1000:2000000:50")
    config.linux.security_context.namespace_options.pid = pb.POD
    assert await map_of(node, config) == [[0, FIRST, 100], [1000, 2_000_000, 50]]
    plain = pod_config(node, f"private:uidmapping=0:{FIRST}:100", "plain", allowed=False)
    assert await map_of(node, plain) == [[0, 0, 4_294_967_295]]
    for mode, reason in (("private:uidmapping=0:0:9", "below 1"), ("of-my-own", "the modes are auto, private")):
        with pytest.raises(RpcError, match=reason):
            await node.run_pod(pod_config(node, mode, "refused"))
