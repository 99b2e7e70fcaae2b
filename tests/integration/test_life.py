"""The life of a pod, as a kubelet leads it."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.status import RpcError
from node import PATIENCE, Node, until

pytestmark = pytest.mark.root

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d) (stdout|stderr) [PF] .*")


async def test_whole_life_with_network(node: Node) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    status = await node.pod_status(pod)
    assert status.state == pb.SANDBOX_READY
    assert status.network.ip.startswith("10.213.")
    assert await node.run_pod(pod_config) == pod

    command = ["sh", "-c", "echo out; echo err >&2; hostname; trap 'exit 7' TERM; while :; do sleep 0.1; done"]
    config = node.container_config(command)
    container = await node.create(pod, config, pod_config)
    assert await node.create(pod, config, pod_config) == container
    assert (await node.status(container)).state == pb.CONTAINER_CREATED
    await node.start_container(container)
    running = await node.status(container)
    assert running.state == pb.CONTAINER_RUNNING
    assert running.created_at <= running.started_at <= time.time_ns()

    addresses = await node.exec(container, "ip", "-4", "addr", "show", "dev", "eth0")
    assert addresses.exit_code == 0
    assert status.network.ip in addresses.stdout.decode()

    await node.stop_container(container, timeout=10)
    ended = await node.status(container)
    assert (ended.state, ended.exit_code, ended.reason) == (pb.CONTAINER_EXITED, 7, "Error")
    assert ended.finished_at >= ended.started_at
    lines = node.log_lines("pod")
    assert "stdout F out" in lines
    assert "stderr F err" in lines
    assert f"stdout F {pod[:12]}" in lines
    raw = (node.logs / "pod" / "ctr.log").read_text().splitlines()
    assert all(LOG_LINE.fullmatch(line) for line in raw)

    await node.remove_container(container)
    await node.stop_pod(pod)
    assert (await node.pod_status(pod)).state == pb.SANDBOX_NOTREADY
    assert (await node.pod_status(pod)).network.ip == ""
    await node.remove_pod(pod)
    assert await node.pods() == []


async def test_stop_and_remove_are_idempotent(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    await node.start_container(container)
    for _ in range(2):
        await node.stop_container(container)
        await node.stop_pod(pod)
    for _ in range(2):
        await node.remove_container(container)
        await node.remove_pod(pod)
    await node.stop_pod("ab" * 32)
    await node.remove_container("ab" * 32)
    with pytest.raises(RpcError, match="cannot find pod sandbox"):
        await node.pod_status(pod)


async def test_exit_codes_and_reasons(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)

    async def run(
        name: str, *command: str, memory: int = 0, pids: pb.NamespaceMode.ValueType = pb.CONTAINER
    ) -> pb.ContainerStatus:
        config = node.container_config(command, name=name)
        config.linux.resources.memory_limit_in_bytes = memory
        options = config.linux.security_context.namespace_options
        options.network, options.pid = pb.NODE, pids
        container = await node.create(pod, config, pod_config)
        await node.start_container(container)
        return await node.wait_exited(container)

    done, failed, killed, oom = await asyncio.gather(
        run("done", "true"),
        run("failed", "sh", "-c", "exit 3"),
        # The first process of a PID namespace would not be ended by its own signal.
        run("killed", "sh", "-c", "kill -USR1 $$; exit 1", pids=pb.NODE),
        run("oom", "sh", "-c", "x=a; while :; do x=$x$x; done", memory=32 << 20),
    )
    assert (done.exit_code, done.reason) == (0, "Completed")
    assert (failed.exit_code, failed.reason) == (3, "Error")
    assert (killed.exit_code, killed.reason) == (138, "Error")
    assert (oom.exit_code, oom.reason) == (137, "OOMKilled")


async def test_exec(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    config = node.container_config(["sleep", "2000"])
    config.envs.append(pb.KeyValue(key="COLOR", value=b"blue"))
    config.working_dir = "/usr"
    container = await node.create(pod, config, pod_config)
    with pytest.raises(RpcError, match=r"not running|CREATED"):
        await node.exec(container, "true")
    await node.start_container(container)
    result = await node.exec(container, "sh", "-c", "echo $COLOR; pwd; echo bad >&2; exit 5")
    assert (result.stdout, result.stderr, result.exit_code) == (b"blue\n/usr\n", b"bad\n", 5)
    timed_out = await node.exec(container, "sleep", "1000", timeout=1)
    assert timed_out.exit_code == -1
    assert b"timed out" in timed_out.stderr
    left = await node.exec(container, "ps")
    assert b"sleep 1000\n" not in left.stdout
    endless = await node.exec(container, "sh", "-c", "head -c 20000000 /dev/zero", timeout=60)
    assert len(endless.stdout) == 16 << 20
    held = await node.exec(container, "sh", "-c", "sleep 1000 & echo early")
    assert held.stdout == b"early\n"
    with pytest.raises(RpcError, match="nonexistent"):
        await node.exec(container, "/nonexistent")


async def test_a_timed_out_exec_leaves_no_process(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    await node.start_container(container)

    direct = await node.exec(container, "sleep", "4321", timeout=1)
    assert (direct.exit_code, direct.stderr) == (-1, b"command timed out")
    # The zombie of it would show as [sleep].
    processes = (await node.exec(container, "ps", "-o", "args")).stdout.decode()
    assert "4321" not in processes
    assert "[sleep]" not in processes

    tree = await node.exec(container, "sh", "-c", "sleep 4321 & setsid sh -c 'sleep 4321; true' & wait", timeout=1)
    assert tree.exit_code == -1
    processes = (await node.exec(container, "ps", "-o", "args")).stdout.decode()
    assert "4321" not in processes
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING


async def test_log_rotation_loses_nothing(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    command = ["sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"]
    container = await node.create(pod, node.container_config(command), pod_config)
    await node.start_container(container)
    path = node.logs / "pod" / "ctr.log"
    for number in range(5):
        path.rename(path.with_suffix(f".{number}"))
        try:
            request = pb.ReopenContainerLogRequest(container_id=container)
            await node.call("ReopenContainerLog", request, pb.ReopenContainerLogResponse)
        except RpcError:
            assert (await node.status(container)).state == pb.CONTAINER_EXITED
            break
        await asyncio.sleep(0.05)
    await node.wait_exited(container)
    text = "".join(file.read_text() for file in sorted(path.parent.glob("ctr.*"), key=lambda f: f.stat().st_mtime_ns))
    numbers = [int(line.rsplit(" ", 1)[1]) for line in text.splitlines()]
    assert sorted(numbers) == list(range(20000))


WORK = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
"""Enough to be seen by a kernel that counts processor time in ticks."""


async def test_statistics(node: Node) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    script = f"dd if=/dev/zero of=/file bs=1M count=3 2>/dev/null; {WORK}; echo done; sleep 1000"
    container = await node.create(pod, node.container_config(["sh", "-c", script]), pod_config)
    await node.start_container(container)
    await until("the work is done", lambda: node.log_lines("pod") == ["stdout F done"])
    request = pb.ContainerStatsRequest(container_id=container)
    stats = (await node.call("ContainerStats", request, pb.ContainerStatsResponse)).stats
    assert stats.attributes.id == container
    assert stats.cpu.usage_core_nano_seconds.value > 0
    assert stats.memory.working_set_bytes.value > 0
    assert stats.writable_layer.used_bytes.value >= 3 << 20
    listed = await node.call("ListContainerStats", pb.ListContainerStatsRequest(), pb.ListContainerStatsResponse)
    assert [item.attributes.id for item in listed.stats] == [container]
    pods = await node.call("ListPodSandboxStats", pb.ListPodSandboxStatsRequest(), pb.ListPodSandboxStatsResponse)
    assert pods.stats[0].linux.network.default_interface.name == "eth0"
    assert pods.stats[0].linux.process.process_count.value >= 1


async def test_pod_metrics_match_their_descriptors(node: Node) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    await node.start_container(container)
    described = await node.call(
        "ListMetricDescriptors", pb.ListMetricDescriptorsRequest(), pb.ListMetricDescriptorsResponse
    )
    keys = {each.name: list(each.label_keys) for each in described.descriptors}
    listed = await node.call(
        "ListPodSandboxMetrics", pb.ListPodSandboxMetricsRequest(), pb.ListPodSandboxMetricsResponse
    )
    (metrics,) = listed.pod_metrics
    assert metrics.pod_sandbox_id == pod
    assert [each.container_id for each in metrics.container_metrics] == [container]
    told = [*metrics.metrics, *metrics.container_metrics[0].metrics]
    assert {each.name for each in told} <= set(keys)
    assert all(len(each.label_values) == len(keys[each.name]) for each in told)
    values = {each.name: each.value.value for each in told}
    assert values["container_memory_working_set_bytes"] > 0
    assert values["container_processes"] == 1
    assert "container_network_receive_bytes_total" in values


async def sees(node: Node, container: str, *commands: bytes) -> None:
    """A container is started a moment before its program runs in place of the runtime's."""
    seen = b""
    async with asyncio.timeout(PATIENCE):
        while not all(command in seen for command in commands):
            seen = (await node.exec(container, "ps")).stdout


async def test_shared_processes_and_target(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod_config.linux.security_context.namespace_options.pid = pb.POD
    pod = await node.run_pod(pod_config)
    containers: list[str] = []
    for name in ("one", "two"):
        config = node.container_config(["sleep", f"100{len(containers)}"], name=name)
        container = await node.create(pod, config, pod_config)
        await node.start_container(container)
        containers.append(container)
    await sees(node, containers[0], b"sleep 1000", b"sleep 1001")
    debug = node.container_config(["sleep", "1002"], name="debug")
    debug.linux.security_context.namespace_options.pid = pb.TARGET
    debug.linux.security_context.namespace_options.target_id = containers[1]
    container = await node.create(pod, debug, pod_config)
    await node.start_container(container)
    await sees(node, container, b"sleep 1001")


async def test_lists_filter_and_stream(node: Node) -> None:
    pods = []
    for name in ("a", "b"):
        config = node.host_network(node.pod_config(name))
        config.labels["app"] = name
        pods.append(await node.run_pod(config))
    wanted = pb.PodSandboxFilter(label_selector={"app": "b"})
    listed = await node.call("ListPodSandbox", pb.ListPodSandboxRequest(filter=wanted), pb.ListPodSandboxResponse)
    assert [item.id for item in listed.items] == [pods[1]]
    wanted = pb.PodSandboxFilter(id=pods[0][:10])
    listed = await node.call("ListPodSandbox", pb.ListPodSandboxRequest(filter=wanted), pb.ListPodSandboxResponse)
    assert [item.id for item in listed.items] == [pods[0]]
    streamed = [
        item.id
        async for message in node.client.stream(
            "/runtime.v1.RuntimeService/StreamPodSandboxes",
            pb.StreamPodSandboxesRequest(),
            pb.StreamPodSandboxesResponse,
            10.0,
        )
        for item in message.pod_sandboxes
    ]
    assert sorted(streamed) == sorted(pods)


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_figures_while_pods_come_and_go(node: Node) -> None:
    """No list of figures fails because something that it tells of ends meanwhile."""
    await node.stop()
    (node.root / "conf.d" / "10-stats.conf").write_text('[crio.stats]\nincluded_pod_metrics = ["all"]\n')
    await node.start()
    over = asyncio.Event()

    async def lives(number: int) -> None:
        for turn in range(6):
            pod_config = node.pod_config(f"pod-{number}-{turn}")
            pod = await node.run_pod(pod_config)
            container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
            await node.start_container(container)
            await node.remove_pod(pod)

    async def read() -> int:
        told = 0
        while not over.is_set():
            metrics = await node.call(
                "ListPodSandboxMetrics", pb.ListPodSandboxMetricsRequest(), pb.ListPodSandboxMetricsResponse
            )
            told += sum(len(pod.metrics) + len(pod.container_metrics) for pod in metrics.pod_metrics)
            await node.call("ListPodSandboxStats", pb.ListPodSandboxStatsRequest(), pb.ListPodSandboxStatsResponse)
            await node.call("ListContainerStats", pb.ListContainerStatsRequest(), pb.ListContainerStatsResponse)
        return told

    readers = [asyncio.create_task(read()) for _ in range(2)]
    await asyncio.gather(*(lives(number) for number in range(4)))
    over.set()
    assert sum(await asyncio.gather(*readers)) > 0
