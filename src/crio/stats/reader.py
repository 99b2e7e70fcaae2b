"""The figures of containers and pods, read when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.executor import Executor
from crio.container.container import Container
from crio.container.manager import ContainerManager
from crio.linux.cgroup import CgroupFs, CpuStats, MemoryStats, Pressure
from crio.sandbox.cgroups import parent_path
from crio.sandbox.sandbox import Sandbox
from crio.stats.network import Interface, read_interfaces
from crio.stats.rates import Rates
from crio.storage.store import Store
from crio.storage.usage import Usage

_LAYER_AGE = 10.0
"""Seconds for which the size of a writable layer is taken from the last walk over it; the kubelet's own interval."""


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
        self._store = store
        self._executor = executor
        self._cgroup_manager = cgroup_manager
        self._rates = Rates()
        self._layers: dict[str, tuple[float, Usage]] = {}

    async def container(self, container: Container) -> pb.ContainerStats:
        """One container's figures; those of an ended one hold its identity and its layer only."""
        await self._measure_layers([container])
        return self._container(container)

    async def containers(self, containers: Sequence[Container]) -> list[pb.ContainerStats]:
        """The figures of several containers."""
        await self._measure_layers(containers)
        return [self._container(container) for container in containers]

    async def sandboxes(self, sandboxes: Sequence[Sandbox]) -> list[pb.PodSandboxStats]:
        """The figures of pods, each with those of its running containers."""
        members = {
            sandbox.id: [c for c in self._containers.of_sandbox(sandbox.id) if c.running] for sandbox in sandboxes
        }
        await self._measure_layers([container for group in members.values() for container in group])
        return [self._sandbox(sandbox, members[sandbox.id]) for sandbox in sandboxes]

    async def _measure_layers(self, containers: Iterable[Container]) -> None:
        now = time.monotonic()
        old = [c.id for c in containers if c.id not in self._layers or self._layers[c.id][0] + _LAYER_AGE < now]
        if old:
            measured = await self._executor.run(self._walk, old)
            self._layers.update({container_id: (now, usage) for container_id, usage in measured.items()})
        if len(self._layers) > 2 * len(self._containers) + 16:
            known: set[str] = {container.id for container in self._containers}
            self._layers = {key: value for key, value in self._layers.items() if key in known}
            self._rates.keep_only(known)

    def _walk(self, container_ids: Sequence[str]) -> dict[str, Usage]:
        found = {}
        for container_id in container_ids:
            try:
                found[container_id] = self._store.container_usage(container_id)
            except Exception:  # noqa: BLE001 - it may be removed meanwhile, and has no figures then
                continue
        return found

    def _container(self, container: Container) -> pb.ContainerStats:
        config = container.config
        now = time.time_ns()
        stats = pb.ContainerStats(
            attributes=pb.ContainerAttributes(
                id=container.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
            )
        )
        group = container.record.cgroup_path
        if container.running:
            self._fill_cpu(stats.cpu, container.id, self._cgroups.cpu(group), now)
            memory = self._cgroups.memory(group)
            fill_memory(stats.memory, memory, now)
            _fill_swap(stats.swap, memory, now)
            stats.io.timestamp = now
            _fill_pressure(stats.io.psi, self._cgroups.io_pressure(group))
        layer = self._layers.get(container.id)
        if layer is not None:
            usage = layer[1]
            stats.writable_layer.timestamp = now
            stats.writable_layer.fs_id.mountpoint = self._store.options.graphroot
            stats.writable_layer.used_bytes.value = usage.bytes
            stats.writable_layer.inodes_used.value = usage.inodes
        return stats

    def _fill_cpu(self, message: pb.CpuUsage, key: str, cpu: CpuStats | None, now: int) -> None:
        message.timestamp = now
        if cpu is None:
            return
        message.usage_core_nano_seconds.value = cpu.usage
        rate = self._rates.nano_cores(key, cpu.usage, now)
        if rate is not None:
            message.usage_nano_cores.value = rate
        _fill_pressure(message.psi, cpu.pressure)

    def _sandbox(self, sandbox: Sandbox, containers: Sequence[Container]) -> pb.PodSandboxStats:
        config = sandbox.config
        now = time.time_ns()
        stats = pb.PodSandboxStats(
            attributes=pb.PodSandboxAttributes(
                id=sandbox.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
            )
        )
        linux = stats.linux
        linux.containers.extend(self._container(container) for container in containers)
        if config.linux.cgroup_parent:
            group = parent_path(sandbox.record.cgroup_parent, self._cgroup_manager())
            self._fill_cpu(linux.cpu, sandbox.id, self._cgroups.cpu(group), now)
            fill_memory(linux.memory, self._cgroups.memory(group), now)
            linux.io.timestamp = now
            _fill_pressure(linux.io.psi, self._cgroups.io_pressure(group))
            pids = self._cgroups.pids(group)
            processes = pids.current if pids is not None else 0
        else:
            # Without a group of the pod's own (a pod of a debug client) the pod is the sum of its containers.
            _sum_containers(linux, now)
            groups = [self._cgroups.pids(container.record.cgroup_path) for container in containers]
            processes = sum(pids.current for pids in groups if pids is not None)
        linux.process.timestamp = now
        linux.process.process_count.value = processes
        netns = sandbox.record.namespaces.get("net")
        if netns:
            pid = next((container.record.pid for container in containers), 0)
            _fill_network(linux.network, read_interfaces(netns, pid), now)
        return stats


def fill_memory(message: pb.MemoryUsage, memory: MemoryStats | None, now: int) -> None:
    """A control group's memory as the CRI tells it."""
    message.timestamp = now
    if memory is None:
        return
    message.working_set_bytes.value = memory.working_set
    if memory.limit is not None:
        message.available_bytes.value = max(memory.limit - memory.working_set, 0)
    message.usage_bytes.value = memory.usage
    message.rss_bytes.value = memory.rss
    message.page_faults.value = memory.faults
    message.major_page_faults.value = memory.major_faults
    _fill_pressure(message.psi, memory.pressure)


def _fill_swap(message: pb.SwapUsage, memory: MemoryStats | None, now: int) -> None:
    message.timestamp = now
    if memory is None or memory.swap is None:
        return
    message.swap_usage_bytes.value = memory.swap
    if memory.swap_limit is not None and memory.limit is not None:
        message.swap_available_bytes.value = max(memory.swap_limit - memory.limit - memory.swap, 0)


def _fill_pressure(message: pb.PsiStats, pressure: Pressure | None) -> None:
    if pressure is None:
        return
    message.Some.Total, message.Full.Total = pressure.some_total, pressure.full_total
    message.Some.Avg10, message.Full.Avg10 = pressure.some_avg10, pressure.full_avg10
    message.Some.Avg60, message.Full.Avg60 = pressure.some_avg60, pressure.full_avg60
    message.Some.Avg300, message.Full.Avg300 = pressure.some_avg300, pressure.full_avg300


def _fill_network(message: pb.NetworkUsage, interfaces: Sequence[Interface], now: int) -> None:
    message.timestamp = now
    for index, interface in enumerate(interfaces):
        target = message.default_interface if index == 0 else message.interfaces.add()
        target.name = interface.name
        target.rx_bytes.value, target.rx_errors.value = interface.rx_bytes, interface.rx_errors
        target.tx_bytes.value, target.tx_errors.value = interface.tx_bytes, interface.tx_errors


def _sum_containers(linux: pb.LinuxPodSandboxStats, now: int) -> None:
    linux.cpu.timestamp = linux.memory.timestamp = now
    for stats in linux.containers:
        linux.cpu.usage_core_nano_seconds.value += stats.cpu.usage_core_nano_seconds.value
        linux.cpu.usage_nano_cores.value += stats.cpu.usage_nano_cores.value
        linux.memory.working_set_bytes.value += stats.memory.working_set_bytes.value
        linux.memory.usage_bytes.value += stats.memory.usage_bytes.value
        linux.memory.rss_bytes.value += stats.memory.rss_bytes.value
        linux.memory.page_faults.value += stats.memory.page_faults.value
        linux.memory.major_page_faults.value += stats.memory.major_page_faults.value
