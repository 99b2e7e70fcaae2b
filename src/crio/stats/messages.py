"""Figures as the CRI's messages, in parts that are encoded once and joined at each answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from crio.api.runtime.v1 import api_pb2 as pb
from crio.container.container import Container
from crio.linux.cgroup import Pressure, Use
from crio.sandbox.sandbox import Sandbox
from crio.stats.network import Interface
from crio.storage.usage import Usage


def container_attributes(container: Container) -> bytes:
    """The part of a ContainerStats that says whose figures they are."""
    config = container.config
    attributes = pb.ContainerAttributes(
        id=container.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
    )
    return pb.ContainerStats(attributes=attributes).SerializeToString()


def sandbox_attributes(sandbox: Sandbox) -> bytes:
    """The part of a PodSandboxStats that says whose figures they are."""
    config = sandbox.config
    attributes = pb.PodSandboxAttributes(
        id=sandbox.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
    )
    return pb.PodSandboxStats(attributes=attributes).SerializeToString()


def container_use(use: Use, rate: int | None, now: int) -> bytes:
    """The part of a ContainerStats with what a running container uses. `rate` is in billionths of a core."""
    stats = pb.ContainerStats()
    fill_cpu(stats.cpu, use, rate, now)
    fill_memory(stats.memory, use, now)
    swap = stats.swap
    swap.timestamp = now
    if use.swap is not None:
        swap.swap_usage_bytes.value = use.swap
        if use.swap_limit is not None and use.limit is not None:
            swap.swap_available_bytes.value = max(use.swap_limit - use.limit - use.swap, 0)
    stats.io.timestamp = now
    fill_pressure(stats.io.psi, use.io_pressure)
    return stats.SerializeToString()


def sandbox_use(use: Use, rate: int | None, now: int, processes: int, *, with_io: bool) -> bytes:
    """The part of a LinuxPodSandboxStats with what a pod uses."""
    linux = pb.LinuxPodSandboxStats()
    fill_cpu(linux.cpu, use, rate, now)
    fill_memory(linux.memory, use, now)
    if with_io:
        linux.io.timestamp = now
        fill_pressure(linux.io.psi, use.io_pressure)
    linux.process.timestamp = now
    linux.process.process_count.value = processes
    return linux.SerializeToString()


def sandbox_network(interfaces: Sequence[Interface], now: int) -> bytes:
    """The part of a LinuxPodSandboxStats with what went through the network of a pod that has its own."""
    linux = pb.LinuxPodSandboxStats()
    fill_network(linux.network, interfaces, now)
    return linux.SerializeToString()


def writable_layer(usage: Usage, mount_point: str, at: int) -> bytes:
    """The part of a ContainerStats with the size of its writable layer, as it was `at` this time."""
    stats = pb.ContainerStats()
    layer = stats.writable_layer
    layer.timestamp = at
    layer.fs_id.mountpoint = mount_point
    layer.used_bytes.value = usage.bytes
    layer.inodes_used.value = usage.inodes
    return stats.SerializeToString()


def fill_cpu(message: pb.CpuUsage, use: Use, rate: int | None, now: int) -> None:
    message.timestamp = now
    if use.cpu is None:
        return
    message.usage_core_nano_seconds.value = use.cpu
    if rate is not None:
        message.usage_nano_cores.value = rate
    fill_pressure(message.psi, use.cpu_pressure)


def fill_memory(message: pb.MemoryUsage, use: Use, now: int) -> None:
    message.timestamp = now
    if use.memory is None:
        return
    message.working_set_bytes.value = use.working_set
    if use.limit is not None:
        message.available_bytes.value = max(use.limit - use.working_set, 0)
    message.usage_bytes.value = use.memory
    message.rss_bytes.value = use.rss
    message.page_faults.value = use.faults
    message.major_page_faults.value = use.major_faults
    fill_pressure(message.psi, use.memory_pressure)


def fill_pressure(message: pb.PsiStats, pressure: Pressure | None) -> None:
    if pressure is not None:
        message.MergeFromString(_encoded(pressure))


@lru_cache(maxsize=2048)
def _encoded(pressure: Pressure) -> bytes:
    """Kept, since that of a quiet group stays as it is, and has eight fields."""
    psi = pb.PsiStats()
    psi.Some.Total, psi.Full.Total = pressure.some_total, pressure.full_total
    psi.Some.Avg10, psi.Full.Avg10 = pressure.some_avg10, pressure.full_avg10
    psi.Some.Avg60, psi.Full.Avg60 = pressure.some_avg60, pressure.full_avg60
    psi.Some.Avg300, psi.Full.Avg300 = pressure.some_avg300, pressure.full_avg300
    return psi.SerializeToString()


_POD_INTERFACE = "eth0"


def fill_network(message: pb.NetworkUsage, interfaces: Sequence[Interface], now: int) -> None:
    message.timestamp = now
    # CNI's first one comes first: a kernel may make others in every namespace, such as sit0, and before it.
    for index, interface in enumerate(sorted(interfaces, key=lambda each: each.name != _POD_INTERFACE)):
        target = message.default_interface if index == 0 else message.interfaces.add()
        target.name = interface.name
        target.rx_bytes.value, target.rx_errors.value = interface.rx_bytes, interface.rx_errors
        target.tx_bytes.value, target.tx_errors.value = interface.tx_bytes, interface.tx_errors


def total(uses: Sequence[Use]) -> Use:
    """What several groups use together; limits and pressure have no sum."""
    return Use(
        cpu=sum(use.cpu or 0 for use in uses),
        memory=sum(use.memory or 0 for use in uses),
        working_set=sum(use.working_set for use in uses),
        rss=sum(use.rss for use in uses),
        faults=sum(use.faults for use in uses),
        major_faults=sum(use.major_faults for use in uses),
    )
