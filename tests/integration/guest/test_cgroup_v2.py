"""Limits, figures and the end of containers with control groups version 2."""

from __future__ import annotations

import subprocess
from pathlib import Path

from crio.api.runtime.v1 import api_pb2 as pb
from node import Node
from systemd_units import CGROUP, group_of

MIB = 1 << 20


async def _start(node: Node, config: pb.ContainerConfig) -> tuple[str, Path]:
    """A running container, and the directory of its group that its limits are in."""
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, config, pod_config)
    await node.start_container(container)
    pid = int((node.root / "state" / "containers" / container / "pid").read_text())
    path = group_of(pid)
    return container, CGROUP / path.split(f"crio-{container}")[0][1:] / f"crio-{container}.scope"


def _value(group: Path, name: str) -> str:
    """What holds of a limit: the group's file, or that of the group below it which crun makes for the processes."""
    texts = [path.read_text().strip() for path in (group / name, *group.glob(f"*/{name}"))]
    numbers = [int(text) for text in texts if text.isdigit()]
    if name.startswith("memory.") and numbers:
        return str(min(numbers))
    return next((text for text in reversed(texts) if text not in ("", "max", "max 100000", "100")), texts[0])


async def test_limits(node: Node) -> None:
    config = node.container_config(["sleep", "1000"])
    resources = config.linux.resources
    resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes = 64 * MIB, 96 * MIB
    resources.cpu_shares, resources.cpu_quota, resources.cpu_period = 512, 50_000, 100_000
    resources.cpuset_cpus, resources.cpuset_mems = "0", "0"
    resources.unified["memory.high"] = str(48 * MIB)
    resources.unified["memory.oom.group"] = "1"
    container, group = await _start(node, config)
    assert _value(group, "memory.max") == str(64 * MIB)
    assert _value(group, "memory.swap.max") == str(32 * MIB)
    assert _value(group, "memory.high") == str(48 * MIB)
    assert _value(group, "cpu.max") == "50000 100000"
    assert _value(group, "cpuset.cpus") == "0"
    assert _value(group, "cpu.weight") in ("20", "59")

    request = pb.UpdateContainerResourcesRequest(container_id=container)
    request.linux.memory_limit_in_bytes, request.linux.cpu_quota = 80 * MIB, 30_000
    request.linux.cpuset_cpus = "1"
    await node.call("UpdateContainerResources", request, pb.UpdateContainerResourcesResponse)
    assert _value(group, "memory.max") == str(80 * MIB)
    assert _value(group, "cpu.max") == "30000 100000"
    assert _value(group, "cpuset.cpus") == "1"
    status = await node.status(container)
    assert status.resources.linux.memory_limit_in_bytes == 80 * MIB
    assert status.resources.linux.cpuset_cpus == "1"


async def test_the_limit_of_processes(node: Node) -> None:
    # The inner shell ends when it cannot start another; the container goes on.
    many = " ".join(map(str, range(30)))
    config = node.container_config(["sh", "-c", f"(for i in {many}; do sleep 1000 & done); exec sleep 1000"])
    config.linux.resources.unified["pids.max"] = "20"
    container, group = await _start(node, config)
    assert _value(group, "pids.max") == "20"
    assert int((group / "pids.current").read_text()) <= 20
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING


async def test_figures(node: Node) -> None:
    config = node.container_config(["sh", "-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; sleep 1000"])
    config.linux.resources.memory_limit_in_bytes = 64 * MIB
    container, _ = await _start(node, config)
    for _ in range(200):
        request = pb.ContainerStatsRequest(container_id=container)
        stats = (await node.call("ContainerStats", request, pb.ContainerStatsResponse)).stats
        if stats.cpu.usage_core_nano_seconds.value:
            break
    assert stats.cpu.usage_core_nano_seconds.value > 0
    assert 0 < stats.memory.working_set_bytes.value <= 64 * MIB
    assert stats.memory.available_bytes.value <= 64 * MIB
    for part in (stats.cpu, stats.memory, stats.io):
        assert part.HasField("psi"), part
        assert part.psi.Some.Total >= 0
    assert stats.swap.HasField("swap_usage_bytes")


async def test_a_frozen_container_is_stopped(node: Node) -> None:
    container, _ = await _start(node, node.container_config(["sleep", "1000"]))
    command = [node.runtime, "--root", str(node.root / f"run-{node.runtime}"), "--systemd-cgroup", "pause", container]
    subprocess.run(command, check=True)
    await node.stop_container(container, timeout=1)
    assert (await node.status(container)).state == pb.CONTAINER_EXITED


async def test_an_own_cgroup_namespace(node: Node) -> None:
    container, _ = await _start(node, node.container_config(["sleep", "1000"]))
    seen = (await node.exec(container, "cat", "/proc/1/cgroup")).stdout.decode().strip()
    assert seen == "0::/"
    listed = (await node.exec(container, "ls", "/sys/fs/cgroup")).stdout.decode()
    assert "cgroup.procs" in listed
    assert "system.slice" not in listed
    written = await node.exec(container, "sh", "-c", "mkdir /sys/fs/cgroup/x")
    assert written.exit_code != 0
