"""Pull and unpack of images of several shapes from a registry on loopback into an empty store, on a tmpfs."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time

from benchmarks import processes
from benchmarks.bench import Bench
from benchmarks.payload import SHAPES
from benchmarks.peers.cri import CriPeer
from benchmarks.peers.project import Project
from benchmarks.results import Table
from benchmarks.scratch import Scratch

_SKOPEO = "skopeo"
_TIME = "from request to answer"
_CPU = "processor time"
_MEMORY = "most memory of the process that unpacks"
_LIMIT = 0.7
_WORKER_MIB = 60.0
_BASE = {"shared": "many"}
"""What is there before an image is pulled."""


async def measure(bench: Bench) -> None:
    async with bench.daemons() as (project, containerd):
        names = (project.name, containerd.name, _SKOPEO)
        await _small(bench, (project, containerd))
        for name in SHAPES:
            shape = bench.image(name)
            scale = ", a tenth of it" if bench.quick else ""
            table = bench.results.table(f"Pull and unpack: {shape.title}{scale}", names)
            for number in bench.rounds(5, 3):
                bench.say(f"pull of {name}, round {number + 1}")
                for peer in (project, containerd):
                    await _pull(peer, table, name)
                # Before it has been idle for so long that it leaves.
                _add_memory(table, project, containerd)
                await asyncio.to_thread(_skopeo, bench, table, name)
            _set_goals(table, containerd.name)


async def _small(bench: Bench, peers: tuple[CriPeer, ...]) -> None:
    table = bench.results.table("Pull of a small image (1 MB, 1 layer)", [peer.name for peer in peers])
    for number in bench.rounds(5, 3):
        bench.say(f"pull of a small image, round {number + 1}")
        for peer in peers:
            await peer.remove_image("busybox")
            await _timed(peer, table, "busybox")


async def _pull(peer: CriPeer, table: Table, name: str) -> None:
    base = _BASE.get(name)
    if base is not None:
        await peer.pull(base)
    await _timed(peer, table, name)
    await peer.remove_image(name)
    if base is not None:
        await peer.remove_image(base)


async def _timed(peer: CriPeer, table: Table, name: str) -> None:
    spent, begin = peer.cpu_seconds(), time.perf_counter()
    await peer.pull(name)
    table.figure(_TIME, "s").add(peer.name, time.perf_counter() - begin)
    table.figure(_CPU, "s").add(peer.name, peer.cpu_seconds() - spent)


def _skopeo(bench: Bench, table: Table, name: str) -> None:
    store = bench.scratch.directory("skopeo")
    environment = os.environ | {"CONTAINERS_STORAGE_CONF": "/dev/null"}
    if (base := _BASE.get(name)) is not None:
        argv = _copy(bench.scratch, store.name, bench.images[base])
        subprocess.run(argv, check=True, capture_output=True, env=environment)
    argv = _copy(bench.scratch, store.name, bench.images[name])
    begin = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begin
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, argv)
    table.figure(_TIME, "s").add(_SKOPEO, seconds)
    table.figure(_CPU, "s").add(_SKOPEO, usage.ru_utime + usage.ru_stime)
    table.figure(_MEMORY, "MiB").add(_SKOPEO, usage.ru_maxrss / processes.MIB)
    subprocess.run(["umount", f"{store}/root/overlay"], capture_output=True, check=False)
    shutil.rmtree(store)


def _copy(scratch: Scratch, store: str, image: str) -> list[str]:
    """The command line that copies into the same kind of store: containers/storage, overlay."""
    root = scratch.root / store
    target = f"containers-storage:[overlay@{root}/root+{root}/run]{image}"
    return [_SKOPEO, "--insecure-policy", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", target]


def _add_memory(table: Table, project: Project, containerd: CriPeer) -> None:
    """The peak of each daemon's process since it started: of this project, of its image worker."""
    for name, pid in ((project.name, project.worker()), (containerd.name, containerd.pid)):
        if pid:
            table.figure(_MEMORY, "MiB").add(name, processes.peak_memory(pid))


def _set_goals(table: Table, containerd: str) -> None:
    medians = [table.figures[_TIME].median(name) for name in (containerd, _SKOPEO)]
    other = min((median for median in medians if median is not None), default=None)
    if other is not None:
        table.goal(_TIME, f"{_LIMIT * other:.2f} s: {_LIMIT} x the better one", _LIMIT * other)
    if _MEMORY in table.figures:
        table.goal(_MEMORY, f"{_WORKER_MIB:g} MiB", _WORKER_MIB)
