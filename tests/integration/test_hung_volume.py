"""A volume whose server has gone is the trouble of its container alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crio.api.crio.v1 import control_pb2
from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.status import RpcError
from hung_volume import hung_file_system
from node import Node, running

pytestmark = pytest.mark.root


async def stages(node: Node) -> list[tuple[str, str]]:
    request = control_pb2.ListJobsRequest()
    found = await node.client.unary("/crio.v1.Control/ListJobs", request, control_pb2.ListJobsResponse, 30.0)
    return [(job.kind, job.stage) for job in found.jobs]


async def test_a_volume_that_hangs_holds_up_nobody_else(scratch: Path, layout: str) -> None:
    place = scratch / "hung"
    place.mkdir()
    async with running(Node(scratch / "node"), layout) as node:
        config = node.host_network(node.pod_config())
        pod = await node.run_pod(config)
        wanted = node.container_config(["true"])
        wanted.mounts.add(container_path="/data", host_path=str(place / "volume"))
        with hung_file_system(place) as end:
            creating = asyncio.create_task(node.create(pod, wanted, config))
            while not creating.done() and ("CreateContainer", "volumes") not in await stages(node):
                await asyncio.sleep(0.02)
            version = await node.call("Version", pb.VersionRequest(), pb.VersionResponse, 30.0)
            assert version.runtime_name == "cri-o"
            end()
            with pytest.raises(RpcError, match=r"cannot mount .*/hung/volume: "):
                await creating
        assert await node.containers() == []
