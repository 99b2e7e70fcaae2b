"""Control group limits, from the request: CPU, memory, swap, huge pages, processes, and version 2's own files.

Limits of a controller that the node has not are left out, since a runtime fails on them. Also used for updates of a
running container.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.base.regex import regex
from crio.security.host import HostFacts
from crio.spec.annotations import UNIFIED_CGROUP, find_for
from crio.spec.oci_runtime import Cpu, DeviceRule, HugepageLimit, Memory, Pids, Resources

_CPU_LIST = regex(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_UNIFIED_KEY = regex(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)+")
_PAGE_SIZE = regex(r"(\d+)([KMG])i?B?")
_MAX_INT64 = (1 << 63) - 1
_MIN_PERIOD, _MAX_PERIOD, _MIN_QUOTA = 1_000, 1_000_000, 1_000
"""Microseconds (kernel: Documentation/scheduler/sched-bwc.rst)."""


def limits(request: pb.LinuxContainerResources, host: HostFacts, *, min_memory: int) -> Resources:
    """The limits of a request; `min_memory` in bytes is the lowest memory limit that is accepted.

    Raises InvalidArgument for a memory limit below it, a swap limit below the memory limit, or a malformed list.
    """
    resources = Resources()
    controllers = host.controllers
    cpu = Cpu()
    _check_cpu(request)
    if "cpu" in controllers:
        cpu.shares = request.cpu_shares or None
        cpu.quota = request.cpu_quota or None
        cpu.period = request.cpu_period or None
    if "cpuset" in controllers:
        cpu.cpus = check_cpu_list(request.cpuset_cpus)
        cpu.mems = check_cpu_list(request.cpuset_mems)
    if cpu != Cpu():
        resources.cpu = cpu
    if request.memory_limit_in_bytes and "memory" in controllers:
        resources.memory = _memory(request, host, min_memory)
    if request.hugepage_limits and "hugetlb" in controllers:
        resources.hugepage_limits = [
            HugepageLimit(page_size(limit.page_size), min(limit.limit, _MAX_INT64)) for limit in request.hugepage_limits
        ]
    if request.unified and host.cgroup_version == 2:
        resources.unified = {_unified_key(key): value for key, value in request.unified.items()}
    return resources


def drop_unlimited_quota(resources: Resources) -> None:
    """A new group has no CPU quota, and crun 1.8 fails to write -1 with cgroup version 1 (containers of a static CPU
    manager have it)."""
    if resources.cpu is not None and resources.cpu.quota is not None and resources.cpu.quota < 0:
        resources.cpu.quota = None


def _check_cpu(request: pb.LinuxContainerResources) -> None:
    """The kernel's own bounds: runtimes tell only that a file cannot be written."""
    if request.cpu_period and not _MIN_PERIOD <= request.cpu_period <= _MAX_PERIOD:
        raise InvalidArgument(
            f"cannot set CPU period {request.cpu_period}: it must be {_MIN_PERIOD} to {_MAX_PERIOD} microseconds"
        )
    if 0 < request.cpu_quota < _MIN_QUOTA:
        raise InvalidArgument(
            f"cannot set CPU quota {request.cpu_quota}: the least is {_MIN_QUOTA} microseconds, and -1 is no quota"
        )
    if request.cpu_shares < 0:
        raise InvalidArgument(f"cannot set CPU shares {request.cpu_shares}: they are negative")


def _memory(request: pb.LinuxContainerResources, host: HostFacts, min_memory: int) -> Memory:
    limit, swap = request.memory_limit_in_bytes, request.memory_swap_limit_in_bytes
    if 0 < limit < min_memory:
        raise InvalidArgument(
            f"cannot set memory limit {limit}: it is too low; it should be at least {min_memory} bytes"
        )
    if 0 < swap < limit:
        raise InvalidArgument(f"cannot set memory swap limit {swap}: it is below the memory limit {limit}")
    # Without a swap limit of its own a container gets no swap: the limit counts memory and swap together.
    return Memory(limit=limit, swap=(swap or limit) if host.memory_swap else None)


def page_size(text: str) -> str:
    """A page size as the kernel names it ("2MB") from that or Kubernetes' spelling ("2Mi"). Raises InvalidArgument."""
    match = _PAGE_SIZE.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"cannot set hugepage limit: {text[:40]!r} is no page size such as 2MB")
    return f"{match[1]}{match[2]}B"


def check_cpu_list(text: str) -> str:
    """`text` if it is a list of CPUs or memory nodes ("0-3,7") or empty. Raises InvalidArgument."""
    if text and not _CPU_LIST.fullmatch(text):
        raise InvalidArgument(f"cannot use {text[:100]!r} as a list of CPUs or memory nodes: the form is 0-3,7")
    return text


def _unified_key(key: str) -> str:
    """A file name of a version 2 group: the runtime opens it below the container's group (CVE-2023-6476)."""
    if not _UNIFIED_KEY.fullmatch(key) or len(key) > 128:
        raise InvalidArgument(f"cannot set cgroup file {key[:100]!r}: it is no name of one")
    return key


def add_unified_annotation(resources: Resources, annotations: Mapping[str, str], container: str) -> None:
    """Add what the allowed annotation unified-cgroup.crio.io/CONTAINER lists: "memory.high=…;…".

    Values are plain or base64. Raises InvalidArgument for a malformed list.
    """
    text = find_for(annotations, UNIFIED_CGROUP, container)
    for entry in (text or "").split(";"):
        if not entry:
            continue
        key, separator, value = entry.partition("=")
        if not separator:
            raise InvalidArgument(
                f"cannot use annotation {UNIFIED_CGROUP}/{container}: {entry[:100]!r} is not KEY=VALUE"
            )
        resources.unified[_unified_key(key)] = _plain_or_base64(value)


def _plain_or_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return text


def set_pids_limit(resources: Resources, limit: int, host: HostFacts) -> None:
    """crio.conf's pids_limit; 0 and less mean none."""
    if limit > 0 and "pids" in host.controllers:
        resources.pids = Pids(limit)


def deny_all_devices(resources: Resources) -> None:
    """The first rule of a container's device list; runtimes add the devices that every container has."""
    resources.devices.insert(0, DeviceRule(False, access="rwm"))


def oom_score_adj(requested: int, host: HostFacts) -> int:
    """The score that can be set: without CAP_SYS_RESOURCE none below the daemon's own (proc_pid_oom_score_adj(5))."""
    wanted = max(-1000, min(1000, requested))
    return wanted if host.may_raise_limits else max(wanted, host.oom_score_adj)
