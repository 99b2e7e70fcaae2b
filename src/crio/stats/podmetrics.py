"""The values of the metrics in `descriptors`, for the CRI's ListPodSandboxMetrics."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import NotFound
from crio.base.executor import Executor
from crio.container.container import Container
from crio.container.manager import ContainerManager
from crio.linux.cgroup import CgroupFs
from crio.sandbox.sandbox import Sandbox
from crio.stats.descriptors import ALWAYS, DESCRIPTORS
from crio.stats.network import read_interfaces
from crio.storage.store import Store

_SECOND = 1_000_000_000
_MOST_PROCESSES = 4096


class Value(msgspec.Struct, frozen=True):
    """One value; `labels` are those beyond the base ones. The CRI has whole numbers only."""

    name: str
    value: int
    labels: tuple[str, ...] = ()


class PodMetrics:
    """Reads the metrics of the groups that the configuration includes."""

    def __init__(
        self,
        cgroups: CgroupFs,
        containers: ContainerManager,
        store: Store,
        executor: Executor,
        included: Callable[[], Sequence[str]],
    ) -> None:
        self._cgroups = cgroups
        self._containers = containers
        self._store = store
        self._executor = executor
        self._included = included
        self._readers: dict[str, Callable[[Container], Iterable[Value]]] = {
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

    async def sandboxes(self, sandboxes: Iterable[Sandbox]) -> list[pb.PodSandboxMetrics]:
        """The metrics of pods and of their running containers."""
        wanted = set(self._included())
        every = "all" in wanted
        pods = [(each, [c for c in self._containers.of_sandbox(each.id) if c.running]) for each in sandboxes]
        return await self._executor.run(
            lambda: [self._sandbox(pod, members, wanted, every=every) for pod, members in pods]
        )

    def _sandbox(
        self, sandbox: Sandbox, containers: Sequence[Container], wanted: set[str], *, every: bool
    ) -> pb.PodSandboxMetrics:
        metadata = sandbox.config.metadata
        message = pb.PodSandboxMetrics(pod_sandbox_id=sandbox.id)
        base: tuple[str, ...]
        if every or "network" in wanted:
            base = (sandbox.id, "", metadata.namespace, metadata.name, "POD")
            pid = next((container.record.pid for container in containers), 0)
            message.metrics.extend(_messages(self._network(sandbox, pid), base))
        for container in containers:
            name = container.config.metadata.name
            base = (container.id, container.record.image_name, metadata.namespace, metadata.name, name)
            values = [Value("container_last_seen", int(time.time()))]
            for group, reader in self._readers.items():
                if every or group in wanted:
                    values.extend(reader(container))
            message.container_metrics.add(container_id=container.id, metrics=_messages(values, base))
        return message

    def _cpu(self, container: Container) -> Iterator[Value]:
        cpu = self._cgroups.cpu(container.record.cgroup_path)
        if cpu is not None:
            yield Value("container_cpu_user_seconds_total", cpu.user // _SECOND)
            yield Value("container_cpu_system_seconds_total", cpu.system // _SECOND)
            yield Value("container_cpu_usage_seconds_total", cpu.usage // _SECOND, ("total",))
            yield Value("container_cpu_cfs_periods_total", cpu.periods)
            yield Value("container_cpu_cfs_throttled_periods_total", cpu.throttled_periods)
            yield Value("container_cpu_cfs_throttled_seconds_total", cpu.throttled // _SECOND)

    def _memory(self, container: Container) -> Iterator[Value]:
        memory = self._cgroups.memory(container.record.cgroup_path)
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

    def _disk(self, container: Container) -> Iterator[Value]:
        root = self._store.options.graphroot
        facts = os.statvfs(root)
        yield Value("container_fs_inodes_free", facts.f_favail, (root,))
        yield Value("container_fs_inodes_total", facts.f_files, (root,))
        yield Value("container_fs_limit_bytes", facts.f_blocks * facts.f_frsize, (root,))
        try:
            usage = self._store.container_usage(container.id)
        except (NotFound, OSError):
            # The container was removed meanwhile.
            return
        yield Value("container_fs_usage_bytes", usage.bytes, (root,))

    def _disk_io(self, container: Container) -> Iterator[Value]:
        for device in self._cgroups.io(container.record.cgroup_path):
            major, minor = str(device.major), str(device.minor)
            name = _device_name(major, minor)
            yield Value("container_fs_reads_bytes_total", device.read_bytes, (name,))
            yield Value("container_fs_reads_total", device.reads, (name,))
            yield Value("container_fs_writes_bytes_total", device.write_bytes, (name,))
            yield Value("container_fs_writes_total", device.writes, (name,))
            yield Value("container_blkio_device_usage_total", device.read_bytes, (name, major, minor, "Read"))
            yield Value("container_blkio_device_usage_total", device.write_bytes, (name, major, minor, "Write"))

    def _hugetlb(self, container: Container) -> Iterator[Value]:
        for size, (usage, highest) in self._cgroups.hugetlb(container.record.cgroup_path).items():
            yield Value("container_hugetlb_usage_bytes", usage, (size,))
            yield Value("container_hugetlb_max_usage_bytes", highest, (size,))

    def _oom(self, container: Container) -> Iterator[Value]:
        yield Value("container_oom_events_total", int(os.path.exists(container.path("oom"))))

    def _process(self, container: Container) -> Iterator[Value]:
        processes = self._cgroups.processes(container.record.cgroup_path)
        files = sockets = 0
        for pid in processes[:_MOST_PROCESSES]:
            count, of_sockets = _open_files(pid)
            files, sockets = files + count, sockets + of_sockets
        pids = self._cgroups.pids(container.record.cgroup_path)
        yield Value("container_file_descriptors", files)
        yield Value("container_processes", len(processes))
        yield Value("container_sockets", sockets)
        if pids is not None:
            yield Value("container_threads", pids.current)
            yield Value("container_threads_max", pids.limit or 0)
        soft = _soft_limit(container.record.pid)
        if soft is not None:
            yield Value("container_ulimits_soft", soft, ("max_open_files",))

    def _spec(self, container: Container) -> Iterator[Value]:
        limits = pb.LinuxContainerResources.FromString(container.record.resources)
        yield Value("container_spec_memory_limit_bytes", max(limits.memory_limit_in_bytes, 0))
        yield Value("container_spec_cpu_period", max(limits.cpu_period, 0))
        yield Value("container_spec_cpu_shares", max(limits.cpu_shares, 0))
        yield Value("container_spec_cpu_quota", max(limits.cpu_quota, 0))
        reservation = limits.unified.get("memory.low", "0")
        yield Value("container_spec_memory_reservation_limit_bytes", int(reservation) if reservation.isdecimal() else 0)
        yield Value("container_spec_memory_swap_limit_bytes", max(limits.memory_swap_limit_in_bytes, 0))
        yield Value("container_start_time_seconds", container.record.started_at // _SECOND)

    def _pressure(self, container: Container) -> Iterator[Value]:
        group = container.record.cgroup_path
        cpu, memory = self._cgroups.cpu(group), self._cgroups.memory(group)
        kinds = {
            "cpu": cpu.pressure if cpu is not None else None,
            "memory": memory.pressure if memory is not None else None,
            "io": self._cgroups.io_pressure(group),
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


def _messages(values: Iterable[Value], base: Sequence[str]) -> Iterator[pb.Metric]:
    now = time.time_ns()
    for value in values:
        descriptor = DESCRIPTORS[value.name]
        # The one that is always told says by its value that the container is there, also for a pod without groups.
        assert descriptor.group == ALWAYS or len(value.labels) == len(descriptor.labels)
        yield pb.Metric(
            name=value.name,
            timestamp=now,
            metric_type=pb.COUNTER if descriptor.counter else pb.GAUGE,
            label_values=[*base, *value.labels],
            value=pb.UInt64Value(value=value.value),
        )


def _device_name(major: str, minor: str) -> str:
    try:
        return "/dev/" + os.path.basename(os.readlink(f"/sys/dev/block/{major}:{minor}"))
    except OSError:
        return f"{major}:{minor}"


def _open_files(pid: int) -> tuple[int, int]:
    """How many files and, among them, sockets a process has open."""
    files = sockets = 0
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                files += 1
                try:
                    sockets += os.readlink(entry.path).startswith("socket:")
                except OSError:
                    continue
    except OSError:
        pass
    return files, sockets


def _soft_limit(pid: int) -> int | None:
    """The soft limit of open files (proc(5), /proc/PID/limits); None for unlimited or when the process is gone."""
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            for line in file:
                if line.startswith("Max open files"):
                    soft = line.split()[3]
                    return int(soft) if soft.isdecimal() else None
    except OSError:
        pass
    return None
