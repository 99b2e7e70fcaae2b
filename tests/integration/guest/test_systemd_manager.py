"""cgroup_manager = "systemd": slices, scopes, their properties, and that nothing stays."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.rpc.status import RpcError
from node import Node
from systemd_units import CGROUP, group_of, show, units, wait_for

SLICE = "crtest-burstable-pod1.slice"
SLICE_PATH = f"/crtest.slice/crtest-burstable.slice/{SLICE}"


@pytest.fixture(autouse=True)
async def _no_slices_left() -> AsyncIterator[None]:
    yield
    subprocess.run(["systemctl", "stop", "crtest.slice"], check=True)


def _pids(node: Node, container: str) -> tuple[int, int]:
    """The container's first process and its monitor."""
    bundle = node.root / "state" / "containers" / container
    return int((bundle / "pid").read_text()), int((bundle / "conmon.pid").read_text())


async def _start(node: Node, pod: str, config: pb.ContainerConfig, pod_config: pb.PodSandboxConfig) -> str:
    container = await node.create(pod, config, pod_config)
    await node.start_container(container)
    return container


def _wait_for_monitor(node: Node, container: str, slice_path: str) -> None:
    _, monitor = _pids(node, container)
    wait_for(lambda: group_of(monitor) == f"{slice_path}/crio-conmon-{container}.scope", "the monitor is in its scope")


async def test_scopes_in_the_slice_of_the_pod(node: Node) -> None:
    pod_config = node.pod_config(cgroup_parent=SLICE)
    pod_config.linux.security_context.namespace_options.pid = pb.POD
    pod = await node.run_pod(pod_config)
    assert show(SLICE, "ActiveState") == {"ActiveState": "active"}
    assert (CGROUP / f"{SLICE_PATH[1:]}/crio-{pod}.scope").is_dir()

    container = await _start(node, pod, node.container_config(["sleep", "1000"]), pod_config)
    pid, monitor = _pids(node, container)
    scope, monitor_scope = f"crio-{container}.scope", f"crio-conmon-{container}.scope"
    assert group_of(pid).startswith(f"{SLICE_PATH}/{scope}")
    wait_for(lambda: group_of(monitor) == f"{SLICE_PATH}/{monitor_scope}", "the monitor is in its scope")
    assert show(scope, "ActiveState", "Slice") == {"ActiveState": "active", "Slice": SLICE}
    assert show(monitor_scope, "Slice", "KillSignal", "Delegate", "After")["KillSignal"] == "13"
    assert "crio.service" in show(monitor_scope, "After")["After"]
    # The process that holds the pod's PID namespace is in the pod's own scope.
    assert show(f"crio-{pod}.scope", "ActiveState", "Slice") == {"ActiveState": "active", "Slice": SLICE}

    await node.stop_pod(pod)
    await node.remove_pod(pod)
    wait_for(lambda: units(f"crio-*{container}.scope") == units(f"crio-{pod}.scope") == [], "the scopes are gone")
    assert list((CGROUP / SLICE_PATH[1:]).glob("crio-*")) == []


async def test_the_default_slice(node: Node) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    container = await _start(node, pod, node.container_config(["sleep", "1000"]), pod_config)
    assert show(f"crio-{container}.scope", "Slice") == {"Slice": "system.slice"}


@pytest.mark.parametrize("parent", ["/kubepods/pod1", "kubepods", "/system.slice/x.scope", "-a.slice", "a--b.slice"])
async def test_parents_that_are_no_slice(node: Node, parent: str) -> None:
    with pytest.raises(RpcError) as caught:
        await node.run_pod(node.pod_config(cgroup_parent=parent))
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert "slice" in str(caught.value)


async def test_limits_are_properties_of_the_scope(node: Node) -> None:
    pod_config = node.pod_config(cgroup_parent=SLICE)
    pod = await node.run_pod(pod_config)
    config = node.container_config(["sleep", "1000"])
    config.linux.resources.memory_limit_in_bytes = 64 << 20
    config.linux.resources.cpu_quota, config.linux.resources.cpu_period = 50_000, 100_000
    container = await _start(node, pod, config, pod_config)
    found = show(f"crio-{container}.scope", "MemoryMax", "CPUQuotaPerSecUSec", "TasksMax", "Delegate")
    assert (found["MemoryMax"], found["CPUQuotaPerSecUSec"], found["Delegate"]) == (str(64 << 20), "500ms", "yes")

    request = pb.UpdateContainerResourcesRequest(container_id=container)
    request.linux.memory_limit_in_bytes = 128 << 20
    await node.call("UpdateContainerResources", request, pb.UpdateContainerResourcesResponse)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    scope = CGROUP / f"{SLICE_PATH[1:]}/crio-{container}.scope"
    assert (scope / "memory.max").read_text().strip() == str(128 << 20)


async def test_a_limit_of_the_slice_too_low_to_start_anything(node: Node) -> None:
    # systemd keeps the property of a slice that is stopped, so the other tests' slice must not have it.
    low = "crtest-low.slice"
    subprocess.run(["systemctl", "set-property", "--runtime", low, "MemoryMax=4M"], check=True)
    try:
        subprocess.run(["systemctl", "start", low], check=True)
        with pytest.raises(RpcError, match="memory limit 4194304 is too low") as caught:
            await node.run_pod(node.pod_config(cgroup_parent=low))
    finally:
        subprocess.run(["systemctl", "revert", low], check=True)
    assert caught.value.code == Code.INVALID_ARGUMENT


async def test_systemd_replaces_itself(node: Node) -> None:
    pod_config = node.pod_config(cgroup_parent=SLICE)
    pod = await node.run_pod(pod_config)
    for number in range(3):
        config = node.container_config(["sleep", "1000"], name=f"c{number}")
        container = await _start(node, pod, config, pod_config)
        _wait_for_monitor(node, container, SLICE_PATH)
        subprocess.run(["systemctl", "daemon-reexec"], check=True)


async def test_many_at_once(node: Node) -> None:
    pod_config = node.pod_config(cgroup_parent=SLICE)
    pod = await node.run_pod(pod_config)

    async def one(number: int) -> str:
        return await _start(node, pod, node.container_config(["sleep", "1000"], name=f"c{number}"), pod_config)

    for container in await asyncio.gather(*map(one, range(6))):
        _wait_for_monitor(node, container, SLICE_PATH)


async def test_another_daemon_takes_over(node: Node) -> None:
    pod_config = node.pod_config(cgroup_parent=SLICE)
    pod = await node.run_pod(pod_config)
    container = await _start(node, pod, node.container_config(["sleep", "1000"]), pod_config)
    node.kill()
    await node.start()
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING
    await node.stop_container(container)
    await node.remove_pod(pod)
    wait_for(lambda: units(f"crio-*{container}.scope") == [], "the scopes are gone")


async def test_monitors_in_a_slice_of_their_own(scratch: Path, layout: str) -> None:
    node = Node(scratch / "node", runtime="crun")
    (node.root / "conf.d" / "monitor.conf").write_text(
        '[crio.runtime.runtimes.crun]\nmonitor_cgroup = "crtest-monitors.slice"\n'
        f'runtime_root = "{node.root}/run-crun"\n'
    )
    await node.start()
    try:
        await node.load(layout)
        pod_config = node.pod_config()
        pod = await node.run_pod(pod_config)
        container = await _start(node, pod, node.container_config(["sleep", "1000"]), pod_config)
        _wait_for_monitor(node, container, "/crtest.slice/crtest-monitors.slice")
        await node.remove_all_pods()
        assert await node.stop() == 0
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()
        node.remove_files()
