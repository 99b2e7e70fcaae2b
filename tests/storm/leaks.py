"""What a daemon without pods must not have left anywhere."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from crio.linux.cgroup import detect
from crio.sandbox.cgroups import unit_names
from node import Node


@dataclass(frozen=True)
class Baseline:
    """What an idle daemon has that never had a pod."""

    mounts: frozenset[str]
    layers: frozenset[str]
    files: int

    @classmethod
    def of(cls, node: Node) -> Baseline:
        return cls(frozenset(_mounts(node)), frozenset(_layers(node)), descriptors(node))


def descriptors(node: Node) -> int:
    """How many files the daemon has open."""
    assert node.process is not None
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def leaks(node: Node, baseline: Baseline, ids: Collection[str]) -> list[str]:
    """One line for each thing that is left of pods and containers with these ids, or in the node's directories."""
    return list(_leaks(node, baseline, ids))


def _leaks(node: Node, baseline: Baseline, ids: Collection[str]) -> Iterator[str]:
    for directory in (
        "state/sandboxes",
        "state/containers",
        "state/exits",
        "ns/netns",
        "ns/ipcns",
        "ns/utsns",
        "ns/userns",
    ):
        for path in _entries(node.root / directory):
            yield f"file {path}"
    for directory in ("lib/network", "lib/cni/results", "lib/cni/cache/results", "run-crun", "run-runc"):
        for path in _entries(node.root / directory):
            yield f"file {path}"
    yield from (f"lease {address}" for address in node.leases())
    yield from (f"mount {target}" for target in set(_mounts(node)) - baseline.mounts)
    yield from (f"layer {name}" for name in set(_layers(node)) - baseline.layers)
    yield from (f"stored container {name}" for name in _stored_containers(node))
    names = {name for each in ids for name in unit_names(each)}
    yield from (f"cgroup {path}" for path in detect().find(names))
    yield from (f"link {name}" for name in _links(node))
    yield from _processes(node)
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False).stdout
    prefix = str(node.subnet.network_address).rsplit(".", 1)[0] + "."
    yield from (f"rule {line.strip()}" for line in rules.splitlines() if prefix in line)


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("lock"))
    except FileNotFoundError:
        return []


def _mounts(node: Node) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4]
        if target.startswith(f"{node.root}/"):
            yield target


def _layers(node: Node) -> list[str]:
    overlay = node.root / "storage" / "overlay"
    names = [path.name for path in _entries(overlay)]
    return names + [f"l/{path.name}" for path in _entries(overlay / "l")]


def _stored_containers(node: Node) -> list[str]:
    path = node.root / "storage" / "overlay-containers" / "containers.json"
    try:
        return [item["id"] for item in json.loads(path.read_bytes())]
    except (FileNotFoundError, ValueError):
        return []


def _links(node: Node) -> list[str]:
    argv = ["ip", "-json", "link", "show", "master", node.bridge]
    found = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return [item["ifname"] for item in json.loads(found or "[]") if item]


def _processes(node: Node) -> Iterator[str]:
    """Monitors by their sockets, and whatever has the node's directory on its command line."""
    for line in Path("/proc/net/unix").read_text().splitlines():
        path = line.rpartition(" ")[2]
        if path.startswith(f"{node.root}/state/containers/"):
            yield f"socket of a monitor {path}"
    assert node.process is not None
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal() or int(directory.name) == node.process.pid:
            continue
        try:
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int((directory / "stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue
        # An idle worker of this daemon leaves by itself.
        is_worker = parent == node.process.pid and "crio.image.worker" in command
        if f"{node.root}/" in command and not is_worker:
            yield f"process {directory.name} {command}"
