"""From exec to the first answer, with nothing to recover; and what a program's shortest command costs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers.containerd import Containerd
from benchmarks.peers.cri import CriPeer
from benchmarks.peers.project import Project

_LIMIT = 500
_VERSION_LIMIT = 60


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
    version = table.figure("--version", "ms")
    programs = {Project.name: str(Path(sys.executable).parent / "crio"), Containerd.name: "containerd"}
    for _ in bench.rounds(20, 5):
        for name, program in programs.items():
            begin = time.perf_counter()
            subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, check=True)
            version.add(name, 1e3 * (time.perf_counter() - begin))
    table.goal(version.name, f"{_VERSION_LIMIT} ms", _VERSION_LIMIT)
