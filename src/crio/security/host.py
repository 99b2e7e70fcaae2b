"""What this host offers and what this daemon may do on it, gathered once when the daemon starts.

A container can be given no more than the daemon has: on a nested or restricted node a runtime fails in obscure ways if
it is asked for a capability, a resource limit or an OOM score that its caller may not set. Specifications are clamped
to these facts, and a warning says so once.
"""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Iterator, Mapping

import msgspec

from crio.linux import apparmor, caps, mount, owned_namespaces, seccomp, selinux
from crio.linux.cgroup import CgroupFs, detect

log = logging.getLogger(__name__)

RLIMITS: Mapping[str, int] = {
    "RLIMIT_" + name.removeprefix("RLIMIT_"): getattr(resource, name)
    for name in (
        "RLIMIT_AS RLIMIT_CORE RLIMIT_CPU RLIMIT_DATA RLIMIT_FSIZE RLIMIT_MEMLOCK RLIMIT_MSGQUEUE RLIMIT_NICE "
        "RLIMIT_NOFILE RLIMIT_NPROC RLIMIT_RSS RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING RLIMIT_STACK"
    ).split()
} | {"RLIMIT_LOCKS": 10}
"""The resource limits of Linux by the specification's names."""

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
_CPUS = "/sys/devices/system/cpu"


class HostFacts(msgspec.Struct, frozen=True):
    """Plain facts; a test makes its own. `gather` fills them from the running system."""

    architecture: str = "x86_64"
    """As uname(2) names it."""
    known_capabilities: tuple[str, ...] = caps.NAMES
    capabilities: frozenset[str] = frozenset(caps.NAMES)
    """Those that the daemon may hand on: in its permitted and its bounding set."""
    rlimits: Mapping[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    """The daemon's own (soft, hard) limits by name; -1 is unlimited."""
    oom_score_adj: int = 0
    """The daemon's own: without CAP_SYS_RESOURCE nothing lower can be set."""
    cgroup_version: int = 2
    controllers: frozenset[str] = frozenset({"cpu", "cpuset", "memory", "pids", "io", "hugetlb"})
    memory_swap: bool = True
    """Whether the memory controller counts swap."""
    seccomp_actions: frozenset[str] = frozenset({"errno", "allow"})
    """Empty: the kernel has no seccomp filters."""
    absent_architectures: frozenset[str] = frozenset()
    """Secondary architectures of seccomp filters that the kernel cannot run."""
    apparmor: bool = False
    selinux: bool = False
    fips: bool = False
    recursive_read_only: bool = True
    """Whether the kernel can make a mount read-only with all that is mounted below it."""
    user_namespaces: bool = False
    """Whether pods can have user namespaces."""
    masked_paths: tuple[str, ...] = _MASKED

    @property
    def may_raise_limits(self) -> bool:
        return "CAP_SYS_RESOURCE" in self.capabilities


def gather(cgroups: CgroupFs | None = None) -> HostFacts:
    """The facts of the running system; takes about a millisecond. Raises FailedPrecondition without control groups."""
    groups = cgroups if cgroups is not None else detect()
    own = caps.of_process()
    facts = HostFacts(
        architecture=os.uname().machine,
        known_capabilities=caps.known_to_kernel(),
        capabilities=own.permitted & own.bounding,
        rlimits={name: resource.getrlimit(number) for name, number in RLIMITS.items()},
        oom_score_adj=_read_int("/proc/self/oom_score_adj"),
        cgroup_version=groups.version,
        controllers=groups.controllers,
        memory_swap=_counts_swap(groups),
        seccomp_actions=seccomp.actions(),
        absent_architectures=seccomp.absent_architectures(),
        apparmor=apparmor.is_enabled(),
        selinux=selinux.is_enabled(),
        fips=_read_int("/proc/sys/crypto/fips_enabled") == 1,
        recursive_read_only=mount.has_mount_setattr(),
        user_namespaces=owned_namespaces.are_possible(),
        masked_paths=(*_MASKED, *sorted(_of_each(_CPUS, "thermal_throttle", "cpu"))),
    )
    missing = [name for name in facts.known_capabilities if name not in facts.capabilities]
    if missing:
        log.warning(
            "this daemon lacks %s: containers that ask for it run without; limits and OOM scores are %s",
            ", ".join(missing),
            "set as asked" if facts.may_raise_limits else "kept within the daemon's own",
        )
    return facts


def _counts_swap(groups: CgroupFs) -> bool:
    """The root group of version 2 has no swap file, but every other one has if swap is counted."""
    if groups.version == 1:
        return any(os.path.exists(f"{root}/memory.memsw.limit_in_bytes") for root in groups.roots())
    own = _own_group()
    return any(
        os.path.exists(f"{root}{group}/memory.swap.max") for root in groups.roots() for group in (own, "")
    ) or any(any(_of_each(root, "memory.swap.max")) for root in groups.roots())


def _of_each(directory: str, name: str, prefix: str = "") -> Iterator[str]:
    """The paths of `name` in those of the directory's directories that have it, and whose own name begins so."""
    try:
        entries = os.listdir(directory)
    except OSError:
        return
    for entry in entries:
        path = f"{directory}/{entry}/{name}"
        if entry.startswith(prefix) and os.path.exists(path):
            yield path


def _own_group() -> str:
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.startswith("0::"):
                return line[3:].strip().rstrip("/")
    return ""


def _read_int(path: str) -> int:
    try:
        with open(path, "rb") as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return 0
