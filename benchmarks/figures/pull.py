"""Pull and unpack of a large image from a registry on loopback into an empty store, on a tmpfs."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import time

from benchmarks.bench import Bench
from benchmarks.peers.cri import CriPeer
from benchmarks.results import Table
from benchmarks.scratch import Scratch

_SKOPEO = "skopeo"
_TIME = "from request to answer"
_CPU = "processor time"
_LIMIT = 0.7


async def measure(bench: Bench) -> None:
    bench.large_image()
    async with bench.daemons() as (project, containerd):
        names = (project.name, containerd.name, _SKOPEO)
        size = "20 MB gzip, 2,000 files" if bench.quick else "200 MB gzip, 20,000 files"
        table = bench.results.table(f"Pull and unpack ({size}, 5 layers)", names)
        small = bench.results.table("Pull of a small image (1 MB, 1 layer)", names[:2])
        for number in bench.rounds(5, 3):
            bench.say(f"pull, round {number + 1}")
            for peer in (project, containerd):
                await _pull(peer, table, "large")
                await peer.remove_image("busybox")
                await _pull(peer, small, "busybox", keep=True)
            await asyncio.to_thread(_skopeo, bench.scratch, table, bench.images["large"])
        other = table.figures[_TIME].median(containerd.name)
        if other is not None:
            table.goal(_TIME, f"{_LIMIT * other:.2f} s: {_LIMIT} x containerd", _LIMIT * other)
        table.notes.append("skopeo copies into the same kind of store (containers/storage, overlay)")


async def _pull(peer: CriPeer, table: Table, purpose: str, *, keep: bool = False) -> None:
    spent, begin = peer.cpu_seconds(), time.perf_counter()
    await peer.pull(purpose)
    table.figure(_TIME, "s").add(peer.name, time.perf_counter() - begin)
    table.figure(_CPU, "s").add(peer.name, peer.cpu_seconds() - spent)
    if not keep:
        await peer.remove_image(purpose)


def _skopeo(scratch: Scratch, table: Table, image: str) -> None:
    store = scratch.directory("skopeo")
    target = f"containers-storage:[overlay@{store}/root+{store}/run]{image}"
    argv = [_SKOPEO, "--insecure-policy", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", target]
    environment = os.environ | {"CONTAINERS_STORAGE_CONF": "/dev/null"}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True, env=environment)
    table.figure(_TIME, "s").add(_SKOPEO, time.perf_counter() - begin)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    table.figure(_CPU, "s").add(_SKOPEO, spent)
    subprocess.run(["umount", f"{store}/root/overlay"], capture_output=True, check=False)
    shutil.rmtree(store)
