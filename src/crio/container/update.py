"""A change of a container's limits: what the runtime is told, and what is in force afterwards; pure."""

from __future__ import annotations

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.specgen.resources import limits, page_size
from crio.security.host import HostFacts

_SCALARS = (
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "memory_limit_in_bytes",
    "memory_swap_limit_in_bytes",
    "cpuset_cpus",
    "cpuset_mems",
)


class Update(msgspec.Struct, frozen=True):
    """`document` is for `runtime update --resources`; `resources` is the whole set in force, for ContainerStatus.

    With `lifts_cpu_quota` the caller takes the CPU quota away itself.
    """

    document: bytes
    resources: pb.LinuxContainerResources
    lifts_cpu_quota: bool = False


def _swap_beside(memory: int, current: pb.LinuxContainerResources) -> int:
    """The limit of memory and swap together when only that of memory changes: a container without swap gets none."""
    swap = current.memory_swap_limit_in_bytes
    if swap < 0:
        return swap
    return max(swap, memory) if swap > current.memory_limit_in_bytes else memory


def _merge_hugepages(merged: pb.LinuxContainerResources, change: pb.LinuxContainerResources) -> None:
    limits_by_size = {page_size(limit.page_size): limit for limit in (*merged.hugepage_limits, *change.hugepage_limits)}
    del merged.hugepage_limits[:]
    merged.hugepage_limits.extend(limits_by_size.values())


def plan_update(
    name: str,
    current: pb.LinuxContainerResources,
    change: pb.LinuxContainerResources,
    host: HostFacts,
    *,
    min_memory: int,
    memory_usage: int | None,
    runtime_lifts_quota: bool = True,
) -> Update:
    """The change `change` of the limits `current`; a field that is not given keeps its value.

    `runtime_lifts_quota` is false for a runtime that cannot write a CPU quota of -1, as crun 1.8 with cgroup version 1.

    Raises InvalidArgument for limits that cannot be, also for a memory limit below what is used now (`memory_usage` in
    bytes, None if unknown): the kernel would refuse it, or end the container for it.
    """
    memory = change.memory_limit_in_bytes
    if memory > 0 and memory_usage is not None and memory < memory_usage:
        raise InvalidArgument(
            f"cannot update container {name}: it uses {memory_usage} bytes, more than the limit {memory}"
        )
    merged = pb.LinuxContainerResources()
    merged.CopyFrom(current)
    for field in _SCALARS:
        if value := getattr(change, field):
            setattr(merged, field, value)
    merged.unified.update(change.unified)
    _merge_hugepages(merged, change)
    asked = pb.LinuxContainerResources()
    asked.CopyFrom(change)
    if memory and not change.memory_swap_limit_in_bytes:
        asked.memory_swap_limit_in_bytes = _swap_beside(memory, current)
        merged.memory_swap_limit_in_bytes = asked.memory_swap_limit_in_bytes
    elif change.memory_swap_limit_in_bytes and not memory:
        # Runtimes set the two together.
        asked.memory_limit_in_bytes = current.memory_limit_in_bytes
        if not current.memory_limit_in_bytes:
            raise InvalidArgument(f"cannot update container {name}: a swap limit needs a memory limit, and it has none")
    lifts_cpu_quota = asked.cpu_quota < 0 and not runtime_lifts_quota
    if lifts_cpu_quota:
        asked.cpu_quota = 0
    return Update(msgspec.json.encode(limits(asked, host, min_memory=min_memory)), merged, lifts_cpu_quota)
