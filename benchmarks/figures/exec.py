"""Commands in containers: how many a second, and at what cost."""

from __future__ import annotations

import asyncio
import resource
import time

from benchmarks.bench import RUNTIMES, Bench
from benchmarks.peers.bare import BareRuntime
from benchmarks.peers.cri import CriPeer
from benchmarks.results import Table

_HAND = "by hand"
_PARALLEL = 8


async def measure(bench: Bench) -> None:
    async with bench.daemons() as (project, containerd):
        for runtime in RUNTIMES:
            template = await bench.container_config(project, runtime)
            bare = BareRuntime(bench.scratch, runtime, template)
            table = bench.results.table(f"ExecSync true, {runtime}", (project.name, containerd.name, _HAND))
            hand = bare.bundle()
            bare.create(hand)
            bare.start(hand)
            containers = {peer: (await peer.pod_with_container(runtime))[1] for peer in (project, containerd)}
            count = 25 if bench.quick else 100
            for number in bench.rounds(5, 2):
                bench.say(f"commands with {runtime}, round {number + 1}")
                for peer, container in containers.items():
                    await _rate(peer, container, table, count)
                _by_hand(bare, hand, table, count)
            bare.clean_up(hand)
            for peer in containers:
                await peer.remove_all()


async def _rate(peer: CriPeer, container: str, table: Table, count: int) -> None:
    spent = peer.cpu_seconds()
    begin = time.perf_counter()
    for _ in range(count):
        await peer.exec(container, "/bin/true")
    table.figure("one after the other", "/s", more_is_better=True).add(peer.name, count / (time.perf_counter() - begin))
    spent = peer.cpu_seconds() - spent
    table.figure("processor time of one, runtime included", "ms").add(peer.name, 1e3 * spent / count)
    limit = asyncio.Semaphore(_PARALLEL)

    async def one() -> None:
        async with limit:
            await peer.exec(container, "/bin/true")

    begin = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    table.figure(f"{_PARALLEL} at a time", "/s", more_is_better=True).add(
        peer.name, count / (time.perf_counter() - begin)
    )


def _by_hand(bare: BareRuntime, container: str, table: Table, count: int) -> None:
    spent, begin = _children_cpu(), time.perf_counter()
    for _ in range(count):
        bare.exec(container)
    rate = count / (time.perf_counter() - begin)
    table.figure("one after the other", "/s", more_is_better=True).add(_HAND, rate)
    milliseconds = 1e3 * (_children_cpu() - spent) / count
    table.figure("processor time of one, runtime included", "ms").add(_HAND, milliseconds)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
