"""A node that fills with pods: memory, the time of lists, what the kubelet's polling costs, a restart."""

from __future__ import annotations

import asyncio
import time

from google.protobuf.message import Message

from benchmarks import processes
from benchmarks.bench import Bench, timed
from benchmarks.peers.cri import CriPeer
from benchmarks.peers.project import Project
from benchmarks.results import Table
from crio.api.runtime.v1 import api_pb2 as pb

_RUNTIME = "crun"
_PARALLEL = 4
_LIST_LIMIT = 10
_POLL_LIMIT = 2
_IDLE_LIMIT, _FULL_LIMIT = 40, 60
_RECOVERY_LIMIT = 1000

_LISTS: tuple[tuple[str, Message, type[Message]], ...] = (
    ("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse),
    ("ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse),
    ("ListContainerStats", pb.ListContainerStatsRequest(), pb.ListContainerStatsResponse),
    ("ListPodSandboxStats", pb.ListPodSandboxStatsRequest(), pb.ListPodSandboxStatsResponse),
    ("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse),
    ("Status", pb.StatusRequest(), pb.StatusResponse),
)


async def measure(bench: Bench) -> None:
    few, pods, containers = (10, 20, 60) if bench.quick else (50, 100, 500)
    async with bench.daemons() as (project, containerd):
        names = (project.name, containerd.name)
        memory = bench.results.table("Memory of a node", names)
        polling = bench.results.table(f"Polling as the kubelet does, {pods} pods", names)
        lists = bench.results.table(f"Lists with {pods} pods and {containers} containers", names)
        restart = bench.results.table(f"kill -9 and start with {pods} pods and {containers} containers", names)
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
            bench.say(f"{pods} pods on {peer.name}")
            await _fill(peer, pods - few)
            await _settle(peer)
            _daemon_memory(peer, memory, f"daemon, {pods} pods")
        for number in bench.rounds(3, 2):
            for peer in (project, containerd):
                bench.say(f"polling {peer.name}, round {number + 1}")
                await _poll(peer, polling, 5.0 if bench.quick else 20.0)
        for peer in (project, containerd):
            bench.say(f"{containers} containers on {peer.name}")
            await _more_containers(peer, containers // pods - 1)
            await _settle(peer)
            _daemon_memory(peer, memory, f"daemon, {pods} pods with {containers} containers")
        for number in bench.rounds(20, 5):
            bench.say(f"lists, round {number + 1}")
            for method, request, response in _LISTS:
                for peer in (project, containerd):
                    if not (method == "ListPodSandboxStats" and peer is containerd):
                        await timed(lists.figure(method, "ms"), peer.name, peer.call(method, request, response))
        for number in bench.rounds(3, 1):
            for peer in (project, containerd):
                bench.say(f"restart of {peer.name}, round {number + 1}")
                peer.kill_daemon()
                restart.figure("exec to first answer", "ms").add(peer.name, 1e3 * await peer.start_again())
        bench.say("removing all pods")
        _goals(memory, polling, lists, restart, pods)


async def _fill(peer: CriPeer, count: int) -> None:
    limit = asyncio.Semaphore(_PARALLEL)

    async def one() -> None:
        async with limit:
            await peer.pod_with_container(_RUNTIME)

    await asyncio.gather(*(one() for _ in range(count)))


async def _more_containers(peer: CriPeer, count: int) -> None:
    """`count` containers more in each pod."""
    pods = (await peer.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)).items
    limit = asyncio.Semaphore(_PARALLEL)

    async def one(pod: pb.PodSandbox, number: int) -> None:
        async with limit:
            config = peer.pod_config(host_network=True)
            config.metadata.CopyFrom(pod.metadata)
            config.log_directory = str(peer.logs / pod.metadata.name)
            container = await peer.create(pod.id, peer.container_config(config, f"more{number}"), config)
            await peer.start_container(container)

    await asyncio.gather(*(one(pod, number) for pod in pods for number in range(count)))


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


async def _poll(peer: CriPeer, table: Table, seconds: float) -> None:
    """The lists of the kubelet's pod life cycle events each second, status each five, statistics each ten."""
    spent, begin = peer.cpu_seconds(), time.perf_counter()
    second = 0
    while (now := time.perf_counter() - begin) < seconds:
        due = [_LISTS[0], _LISTS[1]]
        if second % 5 == 0:
            due.append(_LISTS[5])
        if second % 10 == 0:
            due += [_LISTS[2], _LISTS[4]]
        for method, request, response in due:
            await peer.call(method, request, response)
        second += 1
        await asyncio.sleep(max(second - (time.perf_counter() - begin), 0))
    used = peer.cpu_seconds() - spent
    table.figure("of one processor", "%").add(peer.name, 100 * used / now)


def _goals(memory: Table, polling: Table, lists: Table, restart: Table, pods: int) -> None:
    memory.goal("daemon, idle, RSS", f"{_IDLE_LIMIT} MiB", _IDLE_LIMIT)
    if pods >= 100:
        memory.goal(f"daemon, {pods} pods, RSS", f"{_FULL_LIMIT} MiB", _FULL_LIMIT)
    polling.goal("of one processor", f"{_POLL_LIMIT} %", _POLL_LIMIT)
    for method in ("ListPodSandbox", "ListContainers", "ListContainerStats", "ListPodSandboxStats", "ListImages"):
        lists.goal(method, f"{_LIST_LIMIT} ms", _LIST_LIMIT)
    restart.goal("exec to first answer", f"{_RECOVERY_LIMIT} ms (with 200 containers)", _RECOVERY_LIMIT)
