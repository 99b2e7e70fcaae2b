"""How fast a monitor writes what a container prints into its log, and at what cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from pathlib import Path

from benchmarks import processes
from benchmarks.bench import Bench
from benchmarks.peers.conmon import ConmonC, MonitorPeer, ProjectMonitor
from benchmarks.results import Table

_MIB = 1 << 20
_LINES = b"x" * 99 + b"\n"
_LONG = b"y" * 200_000 + b"\n"
_TIMEOUT = 120.0
_MONITORS = 200
_QUIET, _LONG_QUIET = 0.5, 5.0
"""Seconds after which a monitor has given back what a flood took."""


async def measure(bench: Bench) -> None:
    size = (64 if bench.quick else 256) * _MIB
    project = ProjectMonitor(bench.scratch)
    peers: tuple[MonitorPeer, ...] = (project, ConmonC(bench.scratch))
    names = tuple(peer.name for peer in peers)
    table = bench.results.table(f"Log of a container, {size // _MIB} MiB, from a file to a file on a tmpfs", names)
    inputs = {
        "lines of 100 bytes": _file(bench.scratch.root / "lines", _LINES, size),
        "lines of 200 kB": _file(bench.scratch.root / "long", _LONG, size),
    }
    for number in bench.rounds(7, 3):
        for title, data in inputs.items():
            for peer in peers:
                bench.say(f"log, {title}, round {number + 1}")
                await _throughput(peer, table, title, data)
    conmon = table.figures["lines of 100 bytes"].median(ConmonC.name)
    table.goal("lines of 100 bytes", "above conmon", conmon)
    count = _MONITORS // 4 if bench.quick else _MONITORS
    memory = bench.results.table(f"Memory of a monitor, of {count}", names)
    for peer in peers:
        bench.say("memory of monitors")
        await _memory(peer, memory, count)
    await project.close()
    for data in inputs.values():
        data.unlink()
    memory.goal("PSS, quiet", "below conmon", memory.figures["PSS, quiet"].median(ConmonC.name))


def _file(path: Path, line: bytes, size: int) -> Path:
    path.write_bytes(line * (size // len(line)))
    return path


async def _throughput(peer: MonitorPeer, table: Table, title: str, data: Path) -> None:
    # The container stays when all is written, so that its monitor's processor time can be read.
    container = peer.bundle(("/bin/sh", "-c", "cat /data; exec sleep 1000"), data)
    monitor = await peer.create(container)
    before = processes.watching_cpu_seconds(monitor)
    begin = time.perf_counter()
    peer.start(container)
    await _wait_quiet(peer.log(container), data.stat().st_size)
    seconds = time.perf_counter() - begin
    spent = processes.watching_cpu_seconds(monitor) - before
    await asyncio.sleep(_QUIET)
    mebibytes = data.stat().st_size / _MIB
    table.figure(title, "MiB/s", more_is_better=True).add(peer.name, mebibytes / seconds)
    table.figure(f"{title}: processor time of the monitor", "s/GiB").add(peer.name, spent / mebibytes * 1024)
    table.figure(f"{title}: memory of the monitor afterwards", "MiB PSS").add(
        peer.name, processes.memory(processes.with_children([monitor], "conmon")).pss
    )
    await peer.end(container)


async def _wait_quiet(log: Path, size: int) -> None:
    """Until the log holds all of `size` bytes with what stands before each line."""
    deadline = time.monotonic() + _TIMEOUT
    expected = 0
    while time.monotonic() < deadline:
        if not expected:
            expected = _expected(log, size)
        elif log.stat().st_size >= expected:
            return
        await asyncio.sleep(0.001)
    raise TimeoutError(f"{log} does not get to its end")


def _expected(log: Path, size: int) -> int:
    """The size of the whole log, known from its first entry: all lines and entries are alike."""
    with log.open("rb") as file:
        head = file.read(1 << 20)
    if b"\n" not in head:
        return 0
    first, _, _ = head.partition(b"\n")
    prefix = len(b" ".join(first.split(b" ", 3)[:3])) + 1
    line = len(_LINES) if len(first) - prefix < len(_LONG) and b"x" in first else len(_LONG)
    entries = -(-(line - 1) // (len(first) - prefix))
    return size // line * (entries * (prefix + 1) + line - 1)


async def _memory(peer: MonitorPeer, table: Table, count: int) -> None:
    made: dict[str, int] = {}
    for state, command in (("quiet", "exec sleep 1000"), ("after a line of log", "echo; exec sleep 1000")):
        for _ in range(count):
            container = peer.bundle(("/bin/sh", "-c", command))
            made[container] = await peer.create(container)
            peer.start(container)
        await asyncio.sleep(_QUIET)
        _note_memory(table, peer, made.values(), state)
        if state != "quiet":
            await asyncio.sleep(_LONG_QUIET)
            _note_memory(table, peer, made.values(), f"{state}, {_LONG_QUIET:g} s later")
        for container in made:
            await peer.end(container)
        made.clear()


def _note_memory(table: Table, peer: MonitorPeer, monitors: Collection[int], state: str) -> None:
    used = processes.memory(processes.with_children(monitors, "conmon"))
    for name, value in (("PSS", used.pss), ("private", used.private), ("RSS", used.rss)):
        table.figure(f"{name}, {state}", "MiB").add(peer.name, value / len(monitors))
