"""The values of the metrics in `descriptors`, for the CRI's ListPodSandboxMetrics."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.executor import Executor
from crio.container.container import Container
from crio.container.manager import ContainerManager
from crio.linux.cgroup import CgroupFs, CpuStats, Figures, MemoryStats
from crio.sandbox.sandbox import Sandbox
from crio.stats.layers import Layers
from crio.stats.metric_messages import Value, metrics, of_container, of_sandbox
from crio.stats.network import read_interfaces
from crio.stats.processes import open_files, soft_limit_of_files

_SECOND = 1_000_000_000
_MOST_PROCESSES = 4096
_BATCH = 16
"""Pods that are read without a break."""


class _Subject:
    """A container whose metrics are read, each of its files once."""

    def __init__(self, container: Container, figures: Figures) -> None:
        self.container = container
        self.figures = figures

    @cached_property
    def cpu(self) -> CpuStats | None:
        return self.figures.cpu()

    @cached_property
    def memory(self) -> MemoryStats | None:
        return self.figures.memory()


Reader = Callable[[_Subject], Iterable[Value]]


class PodMetrics:
    """Reads the metrics of the groups that the configuration includes."""

    def __init__(
        self,
        cgroups: CgroupFs,
        containers: ContainerManager,
        layers: Layers,
        executor: Executor,
        included: Callable[[], Sequence[str]],
    ) -> None:
        self._cgroups = cgroups
        self._containers = containers
        self._executor = executor
        self._included = included
        self._layers = layers
        self._readers: dict[str, Reader] = {
            "cpu": self._cpu,
            "memory": self._memory,
            "disk": self._disk,
            "diskIO": self._disk_io,
            "hugetlb": self._hugetlb,
            "oom": self._oom,
            "process": self._process,
            "spec": self._spec,
            "pressure": self._pressure,
        }

    def groups(self) -> Sequence[str]:
        """The groups that are told."""
        return self._included()

    async def sandboxes(self, sandboxes: Iterable[Sandbox]) -> list[bytes]:
        """The metrics of pods and of their running containers, each as an encoded PodSandboxMetrics.

        Read in a thread, some pods at a time, so that work of others comes between.
        """
        groups = self._included()
        every = "all" in groups
        readers = [reader for group, reader in self._readers.items() if every or group in groups]
        network = every or "network" in groups
        pods = [(each, [c for c in self._containers.of_sandbox(each.id) if c.running]) for each in sandboxes]
        if self._disk in readers:
            await self._layers.measure([container.id for _, members in pods for container in members])
        found: list[bytes] = []
        for start in range(0, len(pods), _BATCH):
            batch = pods[start : start + _BATCH]
            found += await self._executor.run(self._batch, batch, readers, network=network)
        self._layers.keep_only({container.id for container in self._containers})
        return found

    def _batch(
        self, pods: Sequence[tuple[Sandbox, Sequence[Container]]], readers: Sequence[Reader], *, network: bool
    ) -> list[bytes]:
        return [self._sandbox(pod, members, readers, network=network) for pod, members in pods]

    def _sandbox(
        self, sandbox: Sandbox, containers: Sequence[Container], readers: Sequence[Reader], *, network: bool
    ) -> bytes:
        metadata = sandbox.config.metadata
        base: tuple[str, ...]
        parts: list[bytes] = []
        if network:
            base = (sandbox.id, "", metadata.namespace, metadata.name, "POD")
            pid = next((container.record.pid for container in containers), 0)
            parts.append(metrics(self._network(sandbox, pid), base, time.time_ns()))
        for container in containers:
            name = container.config.metadata.name
            base = (container.id, container.record.image_name, metadata.namespace, metadata.name, name)
            now = time.time_ns()
            values = [Value("container_last_seen", now // _SECOND)]
            with self._cgroups.figures(container.record.cgroup_path) as figures:
                subject = _Subject(container, figures)
                for reader in readers:
                    values.extend(reader(subject))
            parts.append(of_container(container.id, metrics(values, base, now)))
        return of_sandbox(sandbox.id, parts)

    def _cpu(self, subject: _Subject) -> Iterator[Value]:
        cpu = subject.cpu
        if cpu is not None:
            yield Value("container_cpu_user_seconds_total", cpu.user // _SECOND)
            yield Value("container_cpu_system_seconds_total", cpu.system // _SECOND)
            yield Value("container_cpu_usage_seconds_total", cpu.usage // _SECOND, ("total",))
            yield Value("container_cpu_cfs_periods_total", cpu.periods)
            yield Value("container_cpu_cfs_throttled_periods_total", cpu.throttled_periods)
            yield Value("container_cpu_cfs_throttled_seconds_total", cpu.throttled // _SECOND)

    def _memory(self, subject: _Subject) -> Iterator[Value]:
        memory = subject.memory
        if memory is not None:
            yield Value("container_memory_cache", memory.cache)
            yield Value("container_memory_rss", memory.rss)
            yield Value("container_memory_kernel_usage", memory.kernel)
            yield Value("container_memory_mapped_file", memory.mapped_file)
            yield Value("container_memory_swap", memory.swap or 0)
            yield Value("container_memory_failcnt", memory.failures)
            yield Value("container_memory_usage_bytes", memory.usage)
            yield Value("container_memory_max_usage_bytes", memory.max_usage)
            yield Value("container_memory_working_set_bytes", memory.working_set)
            yield Value("container_memory_failures_total", memory.faults, ("pgfault", "container"))
            yield Value("container_memory_failures_total", memory.major_faults, ("pgmajfault", "container"))

    def _disk(self, subject: _Subject) -> Iterator[Value]:
        root = self._layers.root
        facts = os.statvfs(root)
        yield Value("container_fs_inodes_free", facts.f_favail, (root,))
        yield Value("container_fs_inodes_total", facts.f_files, (root,))
        yield Value("container_fs_limit_bytes", facts.f_blocks * facts.f_frsize, (root,))
        usage = self._layers.usage(subject.container.id)
        if usage is not None:
            yield Value("container_fs_usage_bytes", usage.bytes, (root,))

    def _disk_io(self, subject: _Subject) -> Iterator[Value]:
        for device in subject.figures.io():
            major, minor = str(device.major), str(device.minor)
            name = _device_name(major, minor)
            yield Value("container_fs_reads_bytes_total", device.read_bytes, (name,))
            yield Value("container_fs_reads_total", device.reads, (name,))
            yield Value("container_fs_writes_bytes_total", device.write_bytes, (name,))
            yield Value("container_fs_writes_total", device.writes, (name,))
            yield Value("container_blkio_device_usage_total", device.read_bytes, (name, major, minor, "Read"))
            yield Value("container_blkio_device_usage_total", device.write_bytes, (name, major, minor, "Write"))

    def _hugetlb(self, subject: _Subject) -> Iterator[Value]:
        for size, (usage, highest) in subject.figures.hugetlb().items():
            yield Value("container_hugetlb_usage_bytes", usage, (size,))
            yield Value("container_hugetlb_max_usage_bytes", highest, (size,))

    def _oom(self, subject: _Subject) -> Iterator[Value]:
        yield Value("container_oom_events_total", int(os.path.exists(subject.container.path("oom"))))

    def _process(self, subject: _Subject) -> Iterator[Value]:
        container = subject.container
        processes = self._cgroups.processes(container.record.cgroup_path)
        files = sockets = 0
        for pid in processes[:_MOST_PROCESSES]:
            count, of_sockets = open_files(pid)
            files, sockets = files + count, sockets + of_sockets
        pids = subject.figures.pids()
        yield Value("container_file_descriptors", files)
        yield Value("container_processes", len(processes))
        yield Value("container_sockets", sockets)
        if pids is not None:
            yield Value("container_threads", pids.current)
            yield Value("container_threads_max", pids.limit or 0)
        soft = soft_limit_of_files(container.record.pid)
        if soft is not None:
            yield Value("container_ulimits_soft", soft, ("max_open_files",))

    def _spec(self, subject: _Subject) -> Iterator[Value]:
        container = subject.container
        limits = pb.LinuxContainerResources.FromString(container.record.resources)
        yield Value("container_spec_memory_limit_bytes", max(limits.memory_limit_in_bytes, 0))
        yield Value("container_spec_cpu_period", max(limits.cpu_period, 0))
        yield Value("container_spec_cpu_shares", max(limits.cpu_shares, 0))
        yield Value("container_spec_cpu_quota", max(limits.cpu_quota, 0))
        reservation = limits.unified.get("memory.low", "0")
        yield Value("container_spec_memory_reservation_limit_bytes", int(reservation) if reservation.isdecimal() else 0)
        yield Value("container_spec_memory_swap_limit_bytes", max(limits.memory_swap_limit_in_bytes, 0))
        yield Value("container_start_time_seconds", container.record.started_at // _SECOND)

    def _pressure(self, subject: _Subject) -> Iterator[Value]:
        kinds = {
            "cpu": subject.cpu.pressure if subject.cpu is not None else None,
            "memory": subject.memory.pressure if subject.memory is not None else None,
            "io": subject.figures.io_pressure(),
        }
        for kind, pressure in kinds.items():
            if pressure is not None:
                yield Value(f"container_pressure_{kind}_stalled_seconds_total", pressure.full_total // 1_000_000)
                yield Value(f"container_pressure_{kind}_waiting_seconds_total", pressure.some_total // 1_000_000)

    def _network(self, sandbox: Sandbox, pid: int) -> Iterator[Value]:
        netns = sandbox.record.namespaces.get("net")
        if not netns:
            return
        for each in read_interfaces(netns, pid):
            for direction, counts in (
                ("receive", (each.rx_bytes, each.rx_packets, each.rx_dropped, each.rx_errors)),
                ("transmit", (each.tx_bytes, each.tx_packets, each.tx_dropped, each.tx_errors)),
            ):
                kinds = ("bytes", "packets", "packets_dropped", "errors")
                for kind, count in zip(kinds, counts, strict=True):
                    yield Value(f"container_network_{direction}_{kind}_total", count, (each.name,))


def _device_name(major: str, minor: str) -> str:
    try:
        return "/dev/" + os.path.basename(os.readlink(f"/sys/dev/block/{major}:{minor}"))
    except OSError:
        return f"{major}:{minor}"
