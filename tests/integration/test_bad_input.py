"""Bad input is one clear error with the right code, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.rpc.status import RpcError
from node import CGROUP_MANAGER, PATIENCE, SCRATCH, Node, running

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(layout: str) -> AsyncIterator[Node]:
    """One for all tests: none leaves anything."""
    root = SCRATCH / f"crio-test-{uuid.uuid4().hex[:8]}"
    root.mkdir()
    try:
        async with running(Node(root / "node"), layout) as made:
            yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _nothing_left(node: Node) -> AsyncIterator[None]:
    yield
    await node.remove_all_pods()
    assert os.listdir(node.root / "state" / "sandboxes") == []
    assert os.listdir(node.root / "state" / "containers") == []


async def refused(call: object, code: Code, *words: str) -> None:
    """The call fails with this code, in one line that has all the words."""
    with pytest.raises(RpcError) as caught:
        await call  # type: ignore[misc]
    message = str(caught.value)
    assert caught.value.code == code, message
    assert "\n" not in message
    assert "Traceback" not in message
    for word in words:
        assert word in message


async def run_pods_until_refused(node: Node) -> None:
    """Until a change of the network is noticed pods still get the old one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        await node.remove_pod(await node.run_pod(node.pod_config()))


async def run_pods_until_accepted(node: Node) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            await node.remove_pod(await node.run_pod(node.pod_config()))
            return
        except RpcError:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)


async def test_unknown_handler(node: Node) -> None:
    await refused(node.run_pod(node.pod_config(), "kata"), Code.INVALID_ARGUMENT, "handler 'kata'", "crun")


async def test_pod_without_a_name(node: Node) -> None:
    config = node.pod_config()
    config.metadata.name = ""
    await refused(node.run_pod(config), Code.INVALID_ARGUMENT, "metadata.name")
    await refused(node.run_pod(pb.PodSandboxConfig()), Code.INVALID_ARGUMENT, "metadata.name")


async def test_another_pod_with_the_same_name(node: Node) -> None:
    config = node.host_network(node.pod_config())
    await node.run_pod(config)
    config.labels["changed"] = "yes"
    await refused(node.run_pod(config), Code.ALREADY_EXISTS, "k8s_pod_default_uid-pod_0")


async def test_sysctl_of_the_host(node: Node) -> None:
    config = node.pod_config(sysctls={"kernel.core_pattern": "|/bin/evil"})
    await refused(node.run_pod(config), Code.INVALID_ARGUMENT, "kernel.core_pattern")


async def test_cgroup_parent_of_the_other_driver(node: Node) -> None:
    parent = "/kubepods/pod1" if CGROUP_MANAGER == "systemd" else "kubepods-pod1.slice"
    config = node.pod_config(cgroup_parent=parent)
    await refused(node.run_pod(config), Code.INVALID_ARGUMENT, f"cgroup_manager is {CGROUP_MANAGER}")


async def test_broken_cni_file(node: Node) -> None:
    path = node.root / "net.d" / "10-test.conflist"
    good = path.read_text()
    path.write_text('{"name": "broken", "plugins": [')
    try:
        request = pb.StatusRequest()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            status = await node.call("Status", request, pb.StatusResponse)
            network = next(c for c in status.status.conditions if c.type == "NetworkReady")
            if not network.status:
                break
            await asyncio.sleep(0.05)
        assert not network.status
        assert network.reason == "NetworkPluginNotReady"
        assert "10-test.conflist" in network.message
        await refused(node.run_pod(node.pod_config()), Code.UNAVAILABLE, "network")
    finally:
        path.write_text(good)
    await run_pods_until_accepted(node)


async def test_plugin_that_fails_is_named(node: Node) -> None:
    path = node.root / "net.d" / "10-test.conflist"
    good = path.read_text()
    path.write_text(good.replace(str(node.subnet), "10.300.0.0/24"))
    try:
        with pytest.raises(RpcError, match="ranges of addresses"):
            await run_pods_until_refused(node)
    finally:
        path.write_text(good)
    await run_pods_until_accepted(node)


async def test_container_with_an_unknown_image(node: Node) -> None:
    config = node.host_network(node.pod_config())
    pod = await node.run_pod(config)
    missing = node.container_config(["true"], image="localhost/nothing:latest")
    await refused(node.create(pod, missing, config), Code.NOT_FOUND, "localhost/nothing:latest")


async def test_container_without_a_pod(node: Node) -> None:
    config = node.container_config(["true"])
    await refused(node.create("ab" * 32, config, pb.PodSandboxConfig()), Code.NOT_FOUND, "pod sandbox")


async def test_command_that_does_not_exist(node: Node) -> None:
    config = node.host_network(node.pod_config())
    pod = await node.run_pod(config)
    wrong = node.container_config(["/no/such/program"])
    with pytest.raises(RpcError, match="/no/such/program"):
        await node.start_container(await node.create(pod, wrong, config))


async def test_container_in_a_stopped_pod(node: Node) -> None:
    config = node.host_network(node.pod_config())
    pod = await node.run_pod(config)
    await node.stop_pod(pod)
    await refused(node.create(pod, node.container_config(["true"]), config), Code.FAILED_PRECONDITION, "stopped")


async def test_run_as_group_without_user(node: Node) -> None:
    config = node.host_network(node.pod_config())
    pod = await node.run_pod(config)
    wrong = node.container_config(["true"])
    wrong.linux.security_context.run_as_group.value = 5
    await refused(node.create(pod, wrong, config), Code.INVALID_ARGUMENT, "run_as_group")


async def test_memory_limit_below_the_minimum(node: Node) -> None:
    config = node.host_network(node.pod_config())
    pod = await node.run_pod(config)
    wrong = node.container_config(["true"])
    wrong.linux.resources.memory_limit_in_bytes = 1000
    await refused(node.create(pod, wrong, config), Code.INVALID_ARGUMENT, "memory")


async def test_wrong_image_names(node: Node) -> None:
    for name in ("", "localhost/UPPER:tag", "a b", "x" * 5000, "host/name:tag@sha256:12"):
        request = pb.PullImageRequest(image=pb.ImageSpec(image=name))
        await refused(node.call("PullImage", request, pb.PullImageResponse), Code.INVALID_ARGUMENT)


async def test_registry_that_is_down(node: Node) -> None:
    request = pb.PullImageRequest(image=pb.ImageSpec(image="127.0.0.1:1/busybox:latest"))
    await refused(node.call("PullImage", request, pb.PullImageResponse), Code.UNAVAILABLE, "127.0.0.1:1")


async def test_ambiguous_and_unknown_ids(node: Node) -> None:
    await refused(node.status("ffff"), Code.NOT_FOUND, "'ffff'")
    await refused(node.pod_status(""), Code.INVALID_ARGUMENT, "empty")


async def test_calls_that_do_not_exist_here(node: Node) -> None:
    call = node.client.unary("/runtime.v1.RuntimeService/NoSuchCall", pb.VersionRequest(), pb.VersionResponse, 5.0)
    await refused(call, Code.UNIMPLEMENTED)
    call = node.client.unary("/other.Service/Version", pb.VersionRequest(), pb.VersionResponse, 5.0)
    await refused(call, Code.UNIMPLEMENTED)
