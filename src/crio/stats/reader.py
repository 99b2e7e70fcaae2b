"""The figures of containers and pods, as encoded messages.

Figures are told while they are young, and read anew when they are not. Reading takes the kernel some 30 microseconds a
group, so for lists it is done in slices, between which the daemon answers others, and, for one who looks at steady
intervals as the kubelet does, shortly before his next look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.executor import Executor
from crio.base.protobuf import field, repeated
from crio.base.tasks import TaskScope
from crio.container.container import Container
from crio.container.manager import ContainerManager
from crio.linux.cgroup import CgroupFs, Use
from crio.sandbox.cgroups import parent_path
from crio.sandbox.sandbox import Sandbox
from crio.stats import messages
from crio.stats.cadence import Cadence
from crio.stats.layers import Layers
from crio.stats.network import Interface, read_interfaces
from crio.stats.rates import Rates
from crio.storage.store import Store

_MAX_AGE = 1.0
"""Seconds for which figures are told again in lists."""
_LEAD = 0.6
_SLICE = 0.002
"""Seconds for which reading may keep the daemon from anything else."""


class _Reading(msgspec.Struct, frozen=True):
    """What was read of a container or pod, and when."""

    at: float
    now: int
    """The same as `at` in Unix nanoseconds."""
    use: Use
    rate: int | None
    part: bytes
    """Encoded: of a container, fields of its ContainerStats; of a pod, fields of its LinuxPodSandboxStats."""


class StatsReader:
    """Reads control groups, network counters and writable layers."""

    def __init__(
        self,
        cgroups: CgroupFs,
        containers: ContainerManager,
        store: Store,
        executor: Executor,
        cgroup_manager: Callable[[], str],
    ) -> None:
        self._cgroups = cgroups
        self._containers = containers
        self._cgroup_manager = cgroup_manager
        self._rates = Rates()
        self._layers = Layers(store, executor)
        self._readings: dict[str, _Reading] = {}
        self._attributes: dict[str, bytes] = {}
        self._cadences = {kind: Cadence(_LEAD) for kind in ("containers", "sandboxes")}
        self._ahead = TaskScope("figures")

    async def container(self, container: Container) -> pb.ContainerStats:
        """One container's figures; those of an ended one hold its identity and its layer only."""
        await self._layers.measure([container.id], fresh=True)
        self._readings.pop(container.id, None)
        return pb.ContainerStats.FromString(self._encode(container))

    async def containers(self, containers: Sequence[Container]) -> list[bytes]:
        """The figures of several containers, each as an encoded ContainerStats."""
        self._expect("containers", containers)
        await self._layers.measure([container.id for container in containers])
        await self._read_all(containers, {})
        return [self._encode(container) for container in containers]

    async def sandbox(self, sandbox: Sandbox) -> pb.PodSandboxStats:
        """One pod's figures."""
        pods = self._members([sandbox])
        await self._layers.measure([container.id for container in pods[sandbox]], fresh=True)
        for key in (sandbox.id, *(container.id for container in pods[sandbox])):
            self._readings.pop(key, None)
        return pb.PodSandboxStats.FromString(self._encode_sandbox(sandbox, pods[sandbox]))

    async def sandboxes(self, sandboxes: Sequence[Sandbox]) -> list[bytes]:
        """The figures of pods, each as an encoded PodSandboxStats with those of its running containers."""
        pods = self._members(sandboxes)
        containers = [container for members in pods.values() for container in members]
        self._expect("sandboxes", sandboxes)
        await self._layers.measure([container.id for container in containers])
        await self._read_all(containers, pods)
        return [self._encode_sandbox(sandbox, members) for sandbox, members in pods.items()]

    async def close(self) -> None:
        """Stop reading ahead."""
        await self._ahead.stop()
        await self._layers.close()

    def _members(self, sandboxes: Sequence[Sandbox]) -> dict[Sandbox, list[Container]]:
        """The running containers of each pod."""
        by_id: dict[str, list[Container]] = {sandbox.id: [] for sandbox in sandboxes}
        for container in self._containers:
            members = by_id.get(container.record.sandbox_id)
            if members is not None and container.running:
                members.append(container)
        return {sandbox: by_id[sandbox.id] for sandbox in sandboxes}

    # Reading

    def _expect(self, kind: str, wanted: Sequence[Container] | Sequence[Sandbox]) -> None:
        """Read ahead for the next list of this kind, if there is a steady interval between them."""
        when = self._cadences[kind].looked(time.monotonic())
        if when is not None and len(self._ahead) < 4:
            self._ahead.spawn(kind, self._read_at(when, list(wanted)))

    async def _read_at(self, when: float, wanted: Sequence[Container | Sandbox]) -> None:
        await asyncio.sleep(max(when - time.monotonic(), 0))
        pods = self._members([each for each in wanted if isinstance(each, Sandbox) and each.ready])
        containers = [each for each in wanted if isinstance(each, Container) and each.running]
        containers += [container for members in pods.values() for container in members]
        await self._layers.measure([container.id for container in containers])
        await self._read_all(containers, pods)

    async def _read_all(self, containers: Sequence[Container], pods: Mapping[Sandbox, Sequence[Container]]) -> None:
        """Read what is not young, and let others work now and then."""
        begin = time.monotonic()
        oldest = begin - _MAX_AGE
        items: list[Container | Sandbox] = [*containers, *pods]
        for item in items:
            reading = self._readings.get(item.id)
            if reading is not None and reading.at >= oldest:
                continue
            if isinstance(item, Container):
                self._read_container(item)
            else:
                self._read_sandbox(item, pods[item])
            if time.monotonic() - begin > _SLICE:
                await asyncio.sleep(0)
                begin = time.monotonic()
        self._forget()

    def _read_container(self, container: Container) -> _Reading:
        now = time.time_ns()
        use = self._cgroups.use(container.record.cgroup_path)
        rate = self._rate(container.id, use, now)
        reading = _Reading(time.monotonic(), now, use, rate, messages.container_use(use, rate, now))
        self._readings[container.id] = reading
        return reading

    def _read_sandbox(self, sandbox: Sandbox, members: Sequence[Container]) -> _Reading:
        now = time.time_ns()
        if sandbox.config.linux.cgroup_parent:
            group = parent_path(sandbox.record.cgroup_parent, self._cgroup_manager())
            use = self._cgroups.use(group)
            rate = self._rate(sandbox.id, use, now)
            processes = self._cgroups.process_count(group)
        else:
            # Without a group of the pod's own (a pod of a debug client) the pod is the sum of its containers.
            readings = [self._of_container(container) for container in members]
            use = messages.total([reading.use for reading in readings])
            rate = sum(reading.rate or 0 for reading in readings)
            processes = sum(self._cgroups.process_count(container.record.cgroup_path) for container in members)
        interfaces: Sequence[Interface] | None = None
        if netns := sandbox.record.namespaces.get("net"):
            interfaces = read_interfaces(netns, next((container.record.pid for container in members), 0))
        with_io = bool(sandbox.config.linux.cgroup_parent)
        part = messages.sandbox_use(use, rate, now, processes, interfaces, with_io=with_io)
        reading = _Reading(time.monotonic(), now, use, rate, part)
        self._readings[sandbox.id] = reading
        return reading

    def _of_container(self, container: Container) -> _Reading:
        return self._readings.get(container.id) or self._read_container(container)

    def _rate(self, key: str, use: Use, now: int) -> int | None:
        return None if use.cpu is None else self._rates.nano_cores(key, use.cpu, now)

    def _forget(self) -> None:
        """What is gone, when it has become much."""
        if max(len(self._readings), len(self._attributes)) > 4 * len(self._containers) + 64:
            oldest = time.monotonic() - 60.0
            self._readings = {key: reading for key, reading in self._readings.items() if reading.at > oldest}
            self._attributes = {key: part for key, part in self._attributes.items() if key in self._readings}
            self._rates.keep_only(set(self._readings))
            self._layers.keep_only({container.id for container in self._containers})

    # Telling

    def _encode(self, container: Container) -> bytes:
        attributes = self._attributes.get(container.id)
        if attributes is None:
            attributes = self._attributes[container.id] = messages.container_attributes(container)
        use = self._of_container(container).part if container.running else b""
        return attributes + use + self._layers.part(container.id)

    def _encode_sandbox(self, sandbox: Sandbox, members: Sequence[Container]) -> bytes:
        attributes = self._attributes.get(sandbox.id)
        if attributes is None:
            attributes = self._attributes[sandbox.id] = messages.sandbox_attributes(sandbox)
        reading = self._readings.get(sandbox.id) or self._read_sandbox(sandbox, members)
        containers = repeated(5, [self._encode(container) for container in members])
        return attributes + field(2, reading.part + containers)
