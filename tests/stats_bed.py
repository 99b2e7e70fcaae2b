"""Containers whose processes are sleeps in groups of this machine, and what reads their figures."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.executor import Executor
from crio.container.container import Container
from crio.linux.cgroup import CgroupFs, detect
from crio.sandbox.sandbox import Sandbox
from crio.stats.layers import Layers
from crio.stats.podmetrics import PodMetrics
from crio.stats.reader import StatsReader
from crio.storage.store import Store
from crio.storage.usage import Usage
from small_node import SmallNode, make_container, make_sandbox


class Bed:
    """A reader of a small node's figures, below one group."""

    def __init__(self, root: Path) -> None:
        self.cgroups: CgroupFs = detect()
        self.parent = f"/crio-unit-{uuid.uuid4().hex}"
        self.node = SmallNode(root)
        self.period = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self.executor = Executor("test", 1)
        store: Any = SimpleNamespace(
            options=SimpleNamespace(graphroot=str(root)), container_usage=lambda id: Usage(4096, 1)
        )
        self.layers = Layers(cast(Store, store), self.executor)
        self.reader = StatsReader(
            self.cgroups,
            self.node.containers,
            self.layers,
            lambda: self.period,
        )
        self.groups: tuple[str, ...] = ("all",)
        self.metrics = PodMetrics(self.cgroups, self.node.containers, self.layers, self.executor, lambda: self.groups)

    def pod(self, number: int = 1, **facts: Any) -> Sandbox:
        sandbox = make_sandbox(number, cgroup_parent=f"{self.parent}/pod{number}", **facts)
        sandbox.config.linux.cgroup_parent = f"{self.parent}/pod{number}"
        self.cgroups.create(f"{self.parent}/pod{number}")
        return self.node.add_sandbox(sandbox)

    def container(self, number: int, pod: int = 1, command: Sequence[str] = ("sleep", "1000")) -> Container:
        """A running one."""
        path = f"{self.parent}/pod{pod}/crio-{number}"
        self.cgroups.create(path)
        process = subprocess.Popen(["sh", "-c", 'read go; exec "$@"', "sh", *command], stdin=subprocess.PIPE)
        self.processes.append(process)
        self.cgroups.add(path, process.pid)
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        end = time.monotonic() + 60
        while not ((memory := self.cgroups.memory(path)) and memory.usage and _has_become(process.pid, command[0])):
            assert time.monotonic() < end
            time.sleep(0.01)
        return self.node.add_container(make_container(number, pod, cgroup_path=path, pid=process.pid, started_at=7))

    async def containers(self) -> dict[str, pb.ContainerStats]:
        running = [container for container in self.node.containers if container.running]
        told = [pb.ContainerStats.FromString(each) for each in await self.reader.containers(running)]
        return {each.attributes.id: each for each in told}

    async def sandboxes(self) -> dict[str, pb.PodSandboxStats]:
        ready = [sandbox for sandbox in self.node.sandboxes if sandbox.ready]
        told = [pb.PodSandboxStats.FromString(each) for each in await self.reader.sandboxes(ready)]
        return {each.attributes.id: each for each in told}

    async def close(self) -> None:
        await self.reader.close()
        await self.layers.close()
        self.executor.close()
        for process in self.processes:
            process.kill()
            process.communicate()
        self.cgroups.remove(self.parent)


def _has_become(pid: int, program: str) -> bool:
    """Whether a process is that program already, and one that sleeps: then its memory does not grow any more."""
    name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    return name == program and (program != "sleep" or rest.split()[0] == "S")
