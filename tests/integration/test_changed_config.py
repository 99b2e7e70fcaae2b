"""Pods and containers of a configuration that has changed since."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.linux.cgroup import detect
from crio.rpc.status import RpcError
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


async def handlers(node: Node) -> set[str]:
    status = await node.call("Status", pb.StatusRequest(), pb.StatusResponse)
    return {handler.name for handler in status.runtime_handlers}


async def pid_of(node: Node, container: str) -> int:
    request = pb.ContainerStatusRequest(container_id=container, verbose=True)
    status = await node.call("ContainerStatus", request, pb.ContainerStatusResponse)
    return int(json.loads(status.info["info"])["pid"])


async def test_a_handler_that_has_gone(scratch: Path, layout: str) -> None:
    made = Node(scratch / "node")
    table = made.root / "conf.d" / "other.conf"
    text = (
        f'[crio.runtime.runtimes.other]\nruntime_path = "{shutil.which("crun")}"\n'
        f'runtime_root = "{made.root}/run-other"\nmonitor_cgroup = "pod"\n'
    )
    table.write_text(text)
    async with running(made, layout) as node:
        config = node.host_network(node.pod_config())
        pod, container = await started(node, config, "other")
        created = await node.create(pod, node.container_config(["sleep", "600"], name="created"), config)

        # Until the daemon's end its containers keep it.
        table.unlink()
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(PATIENCE):
            while "other" in await handlers(node):
                await asyncio.sleep(0.02)
        resources = pb.LinuxContainerResources(cpu_shares=512)
        request = pb.UpdateContainerResourcesRequest(container_id=container, linux=resources)
        await node.call("UpdateContainerResources", request, pb.UpdateContainerResourcesResponse)
        assert (await node.status(container)).resources.linux.cpu_shares == 512

        # NOT_FOUND would tell the kubelet that the container has gone.
        await node.stop()
        await node.start()
        for item in (container, created):
            with pytest.raises(RpcError, match="runtime handler 'other'") as caught:
                await node.stop_container(item)
            assert caught.value.code == Code.FAILED_PRECONDITION
        os.kill(await pid_of(node, created), signal.SIGKILL)
        await node.wait_exited(created)
        await node.stop_container(created)

        table.write_text(text)
        await node.stop()
        await node.start()


async def test_a_runtime_that_does_not_know_its_containers_any_more(scratch: Path, layout: str) -> None:
    async with running(Node(scratch / "node"), layout) as node:
        pod, container = await started(node, node.host_network(node.pod_config()))
        await node.stop()
        change(node, f"{node.root}/run-crun", f"{node.root}/run-moved")
        await node.start()
        await node.stop_container(container)
        assert (await node.status(container)).exit_code == 137
        await node.remove_pod(pod)


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
