"""What the kubelet is told of pods, and what a pod leaves on the node: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.status import RpcError
from node import PATIENCE, Node, until

pytestmark = pytest.mark.root


def listen(node: Node) -> AsyncIterator[pb.ContainerEventResponse]:
    path = "/runtime.v1.RuntimeService/GetContainerEvents"
    return node.client.stream(path, pb.GetEventsRequest(), pb.ContainerEventResponse, 60.0)


async def take(events: AsyncIterator[pb.ContainerEventResponse], count: int) -> list[pb.ContainerEventResponse]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(events) for _ in range(count)]


async def test_events_of_pods_and_containers(node: Node) -> None:
    early = listen(node)
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "600"]), pod_config)
    await node.start_container(container)
    await node.stop_container(container)
    await node.remove_container(container)
    await node.stop_pod(pod)
    await node.remove_pod(pod)
    kinds = [
        (pod, pb.CONTAINER_CREATED_EVENT),
        (pod, pb.CONTAINER_STARTED_EVENT),
        (container, pb.CONTAINER_CREATED_EVENT),
        (container, pb.CONTAINER_STARTED_EVENT),
        (container, pb.CONTAINER_STOPPED_EVENT),
        (container, pb.CONTAINER_DELETED_EVENT),
        (pod, pb.CONTAINER_STOPPED_EVENT),
        (pod, pb.CONTAINER_DELETED_EVENT),
    ]
    for events in (early, listen(node)):
        told = await take(events, len(kinds))
        assert [(event.container_id, event.container_event_type) for event in told] == kinds
        # Who hears of it when the pod is gone still learns which pod it was.
        assert {event.pod_sandbox_status.metadata.uid for event in told} == {"uid-pod"}
        assert [event.created_at for event in told] == sorted(event.created_at for event in told)


async def test_a_pods_status_has_its_containers(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "600"]), pod_config)
    request = pb.PodSandboxStatusRequest(pod_sandbox_id=pod)
    answer = await node.call("PodSandboxStatus", request, pb.PodSandboxStatusResponse)
    assert [status.id for status in answer.containers_statuses] == [container]
    assert answer.timestamp >= answer.status.created_at


async def test_an_empty_node_leaves_no_mount(node: Node) -> None:
    pod = await node.run_pod(node.pod_config())
    await node.remove_pod(pod)
    assert await node.stop() == 0
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    assert [line for line in table if line.split()[4].startswith(f"{node.root}/")] == []


DEAF = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]


async def start_deaf(node: Node) -> str:
    """A container that a SIGTERM does not end; before its program runs one might end the runtime's."""
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(DEAF), pod_config)
    await node.start_container(container)
    await until("it is deaf", lambda: node.log_lines("pod") == ["stdout F deaf"])
    return container


async def test_a_later_stop_brings_the_kill_forward(node: Node) -> None:
    container = await start_deaf(node)
    patient = asyncio.create_task(node.stop_container(container, timeout=600))
    await asyncio.sleep(0.3)
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING
    await node.stop_container(container, timeout=0)
    await patient
    ended = await node.status(container)
    assert (ended.state, ended.exit_code) == (pb.CONTAINER_EXITED, 137)


async def test_a_removal_does_not_wait_for_a_patient_stop(node: Node) -> None:
    container = await start_deaf(node)
    patient = asyncio.create_task(node.stop_container(container, timeout=600))
    await asyncio.sleep(0.3)
    await node.remove_container(container)
    await patient
    assert await node.containers() == []


async def test_a_pod_stops_while_containers_are_created_in_it(node: Node) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    configs = [node.container_config(["sleep", "600"], name=f"c{number}") for number in range(4)]
    creates = [asyncio.create_task(node.create(pod, config, pod_config)) for config in configs]
    await asyncio.sleep(0.02)
    await node.stop_pod(pod)
    outcomes = await asyncio.gather(*creates, return_exceptions=True)
    refused = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    assert all(isinstance(outcome, RpcError) and "the pod is stopped" in str(outcome) for outcome in refused)
    left = await node.containers()
    assert sorted(item.id for item in left) == sorted(outcome for outcome in outcomes if isinstance(outcome, str))
    assert {item.state for item in left} <= {pb.CONTAINER_EXITED}
    assert (await node.pod_status(pod)).state == pb.SANDBOX_NOTREADY
