"""The figures of containers and pods, as encoded messages.

A list tells figures that are younger than a limit again, and has the others read anew: in slices, between which the
daemon answers others. For whoever looks at intervals, as the kubelet does, that happens shortly before the next look,
so that he has to wait for none. Each figure carries the time of its own reading.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.protobuf import field, repeated
from crio.base.tasks import TaskScope
from crio.container.container import Container
from crio.container.manager import ContainerManager
from crio.linux.cgroup import CgroupFs
from crio.sandbox.cgroups import parent_path
from crio.sandbox.sandbox import Sandbox
from crio.stats import messages
from crio.stats.cadence import Cadence
from crio.stats.groups import Groups
from crio.stats.layers import Layers
from crio.stats.network import read_interfaces

MAX_AGE = 1.0
"""Seconds for which a list tells figures again, if the configuration asks for no longer time."""
STEADY_AGE = 2.0
"""The same for whoever looks at steady intervals, but never more than a fifth of his interval."""
_SLICE = 0.0005
"""Seconds for which reading may keep the daemon from anything else, while somebody waits for it."""
_SLICE_AHEAD = 0.001
"""The same while nobody does; then comes a pause as long."""
_FORGET_AFTER = 150.0
_MOST_EXPECTED = 4


class _Told:
    """What is told of a container or pod, in encoded parts."""

    __slots__ = ("at", "attributes", "used")

    def __init__(self, attributes: bytes) -> None:
        self.attributes = attributes
        self.used = b""
        """Of a container, fields of its ContainerStats; of a pod, fields of its LinuxPodSandboxStats."""
        self.at = float("-inf")
        """When that was read, in seconds of the steady clock."""


class StatsReader:
    """Reads control groups and network counters, and has `layers` measure writable layers."""

    def __init__(
        self,
        cgroups: CgroupFs,
        containers: ContainerManager,
        layers: Layers,
        period: Callable[[], int] = lambda: 0,
    ) -> None:
        """`period`: the seconds for which lists may tell figures again, 0 for MAX_AGE."""
        self._containers = containers
        self._period = period
        self._groups = Groups(cgroups)
        self._layers = layers
        self._told: dict[str, _Told] = {}
        self._cadences = {"containers": Cadence(), "sandboxes": Cadence()}
        self._ahead = TaskScope("figures")
        self._sweep: asyncio.TimerHandle | None = None

    async def container(self, container: Container) -> pb.ContainerStats:
        """One container's figures; those of an ended one hold its identity and its layer only."""
        await self._layers.measure([container.id], fresh=True)
        if container.running:
            self._read_container(container, time.monotonic())
        return pb.ContainerStats.FromString(self._encode(container))

    async def containers(self, containers: Sequence[Container]) -> list[bytes]:
        """The figures of several containers, each as an encoded ContainerStats."""
        oldest = self._expect("containers", containers)
        await self._layers.measure([container.id for container in containers])
        await self._read_all(containers, {}, oldest)
        # What has ended while others were read is told of no more.
        return [self._encode(container) for container in containers if container.running]

    async def sandbox(self, sandbox: Sandbox) -> pb.PodSandboxStats:
        """One pod's figures."""
        members = self._members([sandbox])[sandbox]
        await self._layers.measure([container.id for container in members], fresh=True)
        now = time.monotonic()
        for container in members:
            self._read_container(container, now)
        self._read_sandbox(sandbox, members, now)
        return pb.PodSandboxStats.FromString(self._encode_sandbox(sandbox, members))

    async def sandboxes(self, sandboxes: Sequence[Sandbox]) -> list[bytes]:
        """The figures of pods, each as an encoded PodSandboxStats with those of its running containers."""
        pods = self._members(sandboxes)
        containers = [container for members in pods.values() for container in members]
        oldest = self._expect("sandboxes", sandboxes)
        await self._layers.measure([container.id for container in containers])
        await self._read_all(containers, pods, oldest)
        return [self._encode_sandbox(sandbox, members) for sandbox, members in pods.items() if sandbox.ready]

    async def close(self) -> None:
        """Stop reading ahead."""
        if self._sweep is not None:
            self._sweep.cancel()
        await self._ahead.stop()
        self._groups.forget(float("inf"))

    def _members(self, sandboxes: Iterable[Sandbox]) -> dict[Sandbox, list[Container]]:
        """The running containers of each pod."""
        by_id: dict[str, list[Container]] = {}
        pods = {sandbox: by_id.setdefault(sandbox.id, []) for sandbox in sandboxes}
        for container in self._containers:
            members = by_id.get(container.record.sandbox_id)
            if members is not None and container.running:
                members.append(container)
        return pods

    # Reading

    def _expect(self, kind: str, wanted: Sequence[Container] | Sequence[Sandbox]) -> float:
        """Read ahead for the next list of this kind. Returns since when figures must have been read for this one."""
        now = time.monotonic()
        expected, interval = self._cadences[kind].looked(now)
        age = self._period() or max(MAX_AGE, min(interval / 5, STEADY_AGE))
        if expected is not None and len(self._ahead) < _MOST_EXPECTED:
            self._ahead.spawn(kind, self._read_for(expected, age, list(wanted)))
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_FORGET_AFTER, self._forget)
        return now - age

    async def _read_for(self, expected: float, age: float, wanted: Sequence[Container | Sandbox]) -> None:
        """Have figures that will not be older than `age` at the time `expected`, nor soon after."""
        lead = min(age, STEADY_AGE) / 2
        await asyncio.sleep(max(expected - lead - time.monotonic(), 0))
        pods = self._members(each for each in wanted if isinstance(each, Sandbox) and each.ready)
        containers = [each for each in wanted if isinstance(each, Container) and each.running]
        containers += [container for members in pods.values() for container in members]
        await self._layers.measure([container.id for container in containers])
        await self._read_all(containers, pods, expected - age, pause=_SLICE_AHEAD)

    async def _read_all(
        self,
        containers: Sequence[Container],
        pods: Mapping[Sandbox, Sequence[Container]],
        oldest: float,
        *,
        pause: float = 0.0,
    ) -> None:
        """Read what was read before `oldest`, and let others work now and then, for `pause` seconds at least."""
        clock, length = time.monotonic, pause or _SLICE
        end = clock() + length
        items: list[Container | Sandbox] = [*containers, *pods]
        for item in items:
            told = self._told.get(item.id)
            if told is not None and told.at >= oldest:
                continue
            if isinstance(item, Container):
                self._read_container(item, oldest)
            else:
                self._read_sandbox(item, pods[item], oldest)
            if clock() > end:
                await asyncio.sleep(pause)
                end = clock() + length

    def _read_container(self, container: Container, oldest: float) -> _Told:
        told = self._of_container(container)
        group = self._groups.get(container.record.cgroup_path)
        if group.at < oldest:
            group.read()
        told.used = messages.container_use(group.use, group.rate, group.now)
        told.at = group.at
        return told

    def _read_sandbox(self, sandbox: Sandbox, members: Sequence[Container], oldest: float) -> _Told:
        told = self._of_sandbox(sandbox)
        of_its_own = bool(sandbox.config.linux.cgroup_parent)
        if of_its_own:
            group = self._groups.get(parent_path(sandbox.record.cgroup_parent))
            if group.at < oldest:
                group.read(processes=True)
            told.at, now, use, rate, processes = group.at, group.now, group.use, group.rate, group.processes
        else:
            # Without a group of the pod's own (a pod of a debug client) the pod is the sum of its containers.
            groups = [self._groups.get(container.record.cgroup_path) for container in members]
            for each in groups:
                each.read(processes=True)
            told.at, now = time.monotonic(), time.time_ns()
            use = messages.total([each.use for each in groups])
            rate = sum(each.rate or 0 for each in groups)
            processes = sum(each.processes for each in groups)
        told.used = messages.sandbox_use(use, rate, now, processes, with_io=of_its_own)
        if netns := sandbox.record.namespaces.get("net"):
            now = time.time_ns()
            interfaces = read_interfaces(netns, next((container.record.pid for container in members), 0))
            told.used += messages.sandbox_network(interfaces, now)
        return told

    def _forget(self) -> None:
        """What nobody has looked at for a while; as long as there is anything, again and again."""
        before = time.monotonic() - max(_FORGET_AFTER, 2 * self._period())
        self._groups.forget(before)
        self._told = {key: told for key, told in self._told.items() if told.at >= before}
        self._layers.keep_only({container.id for container in self._containers})
        self._sweep = None
        if self._told or self._groups:
            self._sweep = asyncio.get_running_loop().call_later(_FORGET_AFTER, self._forget)

    # Telling

    def _of_container(self, container: Container) -> _Told:
        told = self._told.get(container.id)
        if told is None:
            told = self._told[container.id] = _Told(messages.container_attributes(container))
        return told

    def _of_sandbox(self, sandbox: Sandbox) -> _Told:
        told = self._told.get(sandbox.id)
        if told is None:
            told = self._told[sandbox.id] = _Told(messages.sandbox_attributes(sandbox))
        return told

    def _encode(self, container: Container) -> bytes:
        told = self._of_container(container)
        used = told.used if container.running else b""
        return b"%b%b%b" % (told.attributes, used, self._layers.part(container.id))

    def _encode_sandbox(self, sandbox: Sandbox, members: Sequence[Container]) -> bytes:
        told = self._of_sandbox(sandbox)
        containers = repeated(5, [self._encode(container) for container in members if container.running])
        return told.attributes + field(2, told.used + containers)
