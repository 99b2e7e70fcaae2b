"""From exec to the first answer, with nothing to recover."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.peers.containerd import Containerd
from benchmarks.peers.cri import CriPeer
from benchmarks.peers.project import Project

_LIMIT = 500


async def measure(bench: Bench) -> None:
    table = bench.results.table("Start of an empty daemon", (Project.name, Containerd.name))
    figure = table.figure("exec to first answer", "ms")
    peers: tuple[CriPeer, ...] = (Project(bench.scratch, bench.images), Containerd(bench.scratch, bench.images))
    for number in bench.rounds(10, 3):
        bench.say(f"start, round {number + 1}")
        for peer in peers:
            seconds = await peer.start()
            await peer.stop()
            figure.add(peer.name, 1e3 * seconds)
    table.goal(figure.name, f"{_LIMIT} ms", _LIMIT)
