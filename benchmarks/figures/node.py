"""A node that fills with pods: memory, the time of lists, what the kubelet's polling costs, a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from google.protobuf.message import Message

from benchmarks import processes
from benchmarks.bench import Bench, timed
from benchmarks.peers.containerd import Containerd
from benchmarks.peers.cri import CriPeer
from benchmarks.peers.project import Project
from benchmarks.results import Table
from crio.api.runtime.v1 import api_pb2 as pb

_RUNTIME = "crun"
_PARALLEL = 4
_PER_POD = 2
_MOST_CONTAINERS = 500
_LIST_LIMIT = 10
_POLL_LIMIT = 4
_IDLE_LIMIT, _FULL_LIMIT = 40, 90
_RECOVERY_LIMIT = 1500
_SYNC_INTERVAL = 60
"""Seconds after which the kubelet looks at each part of a pod, if nothing has happened to it."""

_LISTS: tuple[tuple[str, Message, type[Message]], ...] = (
    ("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse),
    ("ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse),
    ("ListContainerStats", pb.ListContainerStatsRequest(), pb.ListContainerStatsResponse),
    ("ListPodSandboxStats", pb.ListPodSandboxStatsRequest(), pb.ListPodSandboxStatsResponse),
    ("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse),
    ("Status", pb.StatusRequest(), pb.StatusResponse),
)


async def measure(bench: Bench) -> None:
    pods = bench.pods
    few = min(50, pods // 2)
    running, most = _PER_POD * pods, max(_MOST_CONTAINERS if not bench.quick else 0, _PER_POD * pods + pods // 2)
    async with bench.daemons() as (project, containerd):
        names = (project.name, containerd.name)
        memory = bench.results.table("Memory of a node", names)
        polling = bench.results.table(f"Polling as the kubelet does, {pods} pods with {running} containers", names)
        lists = bench.results.table(f"Lists with {pods} pods and {running} containers", names)
        more = bench.results.table(f"Lists with {pods} pods and {most} containers", names)
        restart = bench.results.table(f"kill -9 and start with {pods} pods and {most} containers", names)
        # Something has been run and removed: what stays of that is part of a daemon's memory.
        for peer in (project, containerd):
            await _fill(peer, 2)
            await peer.remove_all()
            await _settle(peer)
        for peer in (project, containerd):
            _daemon_memory(peer, memory, "daemon, idle")
        for peer in (project, containerd):
            bench.say(f"{few} pods on {peer.name}")
            await _fill(peer, few)
            await _settle(peer)
            _daemon_memory(peer, memory, f"daemon, {few} pods")
            _memory_per_pod(peer, memory, few)
            bench.say(f"{pods} pods of {_PER_POD} containers on {peer.name}")
            await _fill(peer, pods - few)
            await _more_containers(peer, running - pods, start=True)
            await _settle(peer)
            _daemon_memory(peer, memory, f"daemon, {pods} pods with {running} containers")
        for number in bench.rounds(3, 1):
            for peer in (project, containerd):
                bench.say(f"polling {peer.name}, round {number + 1}")
                await _poll(peer, polling, lists, 11.0 if bench.quick else 31.0)
        for peer in (project, containerd):
            bench.say(f"{most} containers on {peer.name}")
            await _more_containers(peer, most - running, start=False)
            await _settle(peer)
            _daemon_memory(peer, memory, f"daemon, {pods} pods with {most} containers")
        for number in bench.rounds(20, 5):
            bench.say(f"lists, round {number + 1}")
            for method, request, response in _LISTS:
                for peer in (project, containerd):
                    if _has(peer, method):
                        await timed(more.figure(method, "ms"), peer.name, peer.call(method, request, response))
        for number in bench.rounds(3, 1):
            for peer in (project, containerd):
                bench.say(f"restart of {peer.name}, round {number + 1}")
                peer.kill_daemon()
                restart.figure("exec to first answer", "ms").add(peer.name, 1e3 * await peer.start_again())
        bench.say("removing all pods")
        _goals(memory, polling, (lists, more), restart, f"{pods} pods with {running} containers", full=pods >= 200)


def _has(peer: CriPeer, method: str) -> bool:
    return not (method == "ListPodSandboxStats" and isinstance(peer, Containerd))


async def _fill(peer: CriPeer, count: int) -> None:
    limit = asyncio.Semaphore(_PARALLEL)

    async def one() -> None:
        async with limit:
            await peer.pod_with_container(_RUNTIME)

    await asyncio.gather(*(one() for _ in range(count)))


async def _more_containers(peer: CriPeer, count: int, *, start: bool) -> None:
    """`count` containers more, spread over all pods; they run if `start`, or are only created."""
    pods = (await peer.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)).items
    limit = asyncio.Semaphore(_PARALLEL)
    kind = "running" if start else "created"

    async def one(number: int) -> None:
        pod = pods[number % len(pods)]
        async with limit:
            config = peer.pod_config(host_network=True)
            config.metadata.CopyFrom(pod.metadata)
            config.log_directory = str(peer.logs / pod.metadata.name)
            name = f"{kind}{number // len(pods)}"
            container = await peer.create(pod.id, peer.container_config(config, name), config)
            if start:
                await peer.start_container(container)

    await asyncio.gather(*(one(number) for number in range(count)))


async def _settle(peer: CriPeer) -> None:
    """A few calls and a second of quiet."""
    for method, request, response in _LISTS[:2]:
        await peer.call(method, request, response)
    await asyncio.sleep(1.0)


def _daemon_memory(peer: CriPeer, table: Table, name: str) -> None:
    daemon = processes.memory([peer.pid])
    table.figure(f"{name}, RSS", "MiB").add(peer.name, daemon.rss)
    helpers = peer.zygote() if isinstance(peer, Project) else []
    table.figure(f"{name}, PSS with helpers", "MiB").add(peer.name, processes.memory([peer.pid, *helpers]).pss)


def _memory_per_pod(peer: CriPeer, table: Table, pods: int) -> None:
    """Of what watches over and holds a pod with one container."""
    watching = processes.memory(peer.monitors())
    holding = processes.memory(peer.pauses())
    table.figure("monitor or shim, per pod", "MiB PSS").add(peer.name, watching.pss / pods)
    table.figure("with the pause process, per pod", "MiB PSS").add(peer.name, (watching.pss + holding.pss) / pods)


async def _poll(peer: CriPeer, table: Table, lists: Table, seconds: float) -> None:
    """What the kubelet asks without an event.

    Each second the lists of its pod life cycle generator, and the statuses of the pods whose turn it is; the node's
    status each five, statistics and images each ten. The times of the lists are kept as well.
    """
    pods = [pod.id for pod in (await peer.call(*_LISTS[0])).items]  # type: ignore[attr-defined]
    containers = {pod: [each.id for each in await _containers(peer, pod)] for pod in pods[:_SYNC_INTERVAL]}
    turn = max(len(pods) // _SYNC_INTERVAL, 1)
    spent, begin = peer.cpu_seconds(), time.perf_counter()
    second = 0
    while (now := time.perf_counter() - begin) < seconds:
        due = [_LISTS[0], _LISTS[1]]
        if second % 5 == 0:
            due.append(_LISTS[5])
        if second % 10 == 0:
            due += [each for each in _LISTS[2:5] if _has(peer, each[0])]
        for method, request, response in due:
            await timed(lists.figure(method, "ms"), peer.name, peer.call(method, request, response))
        for number in range(second * turn, (second + 1) * turn):
            await _look_at_pod(peer, *list(containers.items())[number % len(containers)])
        second += 1
        await asyncio.sleep(max(second - (time.perf_counter() - begin), 0))
    used = peer.cpu_seconds() - spent
    table.figure("of one processor", "%").add(peer.name, 100 * used / now)


async def _containers(peer: CriPeer, pod: str) -> Sequence[pb.Container]:
    request = pb.ListContainersRequest(filter=pb.ContainerFilter(pod_sandbox_id=pod))
    return (await peer.call("ListContainers", request, pb.ListContainersResponse)).containers


async def _look_at_pod(peer: CriPeer, pod: str, containers: Sequence[str]) -> None:
    await peer.call("PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id=pod), pb.PodSandboxStatusResponse)
    for container in containers:
        request = pb.ContainerStatusRequest(container_id=container)
        await peer.call("ContainerStatus", request, pb.ContainerStatusResponse)


def _goals(memory: Table, polling: Table, lists: Sequence[Table], restart: Table, name: str, *, full: bool) -> None:
    memory.goal("daemon, idle, RSS", f"{_IDLE_LIMIT} MiB", _IDLE_LIMIT)
    if full:
        memory.goal(f"daemon, {name}, RSS", f"{_FULL_LIMIT} MiB", _FULL_LIMIT)
    polling.goal("of one processor", f"{_POLL_LIMIT} %", _POLL_LIMIT)
    for table in lists:
        for method in ("ListPodSandbox", "ListContainers", "ListContainerStats", "ListPodSandboxStats", "ListImages"):
            table.goal(method, f"{_LIST_LIMIT} ms", _LIST_LIMIT)
    restart.goal("exec to first answer", f"{_RECOVERY_LIMIT} ms", _RECOVERY_LIMIT)
