"""The annotations by which a pod asks this runtime for something: their names, in both spellings, and look-up.

The newer spelling is NAME.crio.io and wins; the older io.kubernetes.cri-o.Name is still honoured. Some take a
container's name after "/" (or, older, ".").
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from crio.base.regex import regex

_SIZE = regex(r"(\d{1,15})(?:([KMGT])(i)?B?)?", re.IGNORECASE)

CGROUP2_MOUNT_HIERARCHY_RW = "cgroup2-mount-hierarchy-rw.crio.io"
CPU_C_STATES = "cpu-c-states.crio.io"
CPU_FREQ_GOVERNOR = "cpu-freq-governor.crio.io"
CPU_LOAD_BALANCING = "cpu-load-balancing.crio.io"
CPU_QUOTA = "cpu-quota.crio.io"
CPU_SHARED = "cpu-shared.crio.io"
DEVICES = "devices.crio.io"
DISABLE_FIPS = "disable-fips.crio.io"
IRQ_LOAD_BALANCING = "irq-load-balancing.crio.io"
LINK_LOGS = "link-logs.crio.io"
PLATFORM_RUNTIME_PATH = "platform-runtime-path.crio.io"
POD_LINUX_OVERHEAD = "pod-linux-overhead.crio.io"
POD_LINUX_RESOURCES = "pod-linux-resources.crio.io"
ROOTFS_QUOTA = "rootfs-quota.crio.io"
"""Limit of a container's writable layer; of this implementation."""
SECCOMP_NOTIFIER_ACTION = "seccomp-notifier-action.crio.io"
SECCOMP_PROFILE = "seccomp-profile.crio.io"
SHM_SIZE = "shm-size.crio.io"
SKIP_GOMAXPROCS = "skip-gomaxprocs.crio.io"
SPOOFED = "spoofed.crio.io"
TRY_SKIP_VOLUME_SELINUX_LABEL = "try-skip-volume-selinux-label.crio.io"
ULIMITS = "ulimits.crio.io"
"""Resource limits, "nofile=1024:4096,core=0"; of this implementation."""
UMASK = "umask.crio.io"
UNIFIED_CGROUP = "unified-cgroup.crio.io"
USERNS_MODE = "userns-mode.crio.io"

RDT_CLASS = "io.kubernetes.cri.rdt-class"
TRACE_SYSCALL = "io.containers.trace-syscall"
STOP_SIGNAL = "org.opencontainers.image.stopSignal"

OLDER = {
    CGROUP2_MOUNT_HIERARCHY_RW: "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw",
    DEVICES: "io.kubernetes.cri-o.Devices",
    DISABLE_FIPS: "io.kubernetes.cri-o.DisableFIPS",
    LINK_LOGS: "io.kubernetes.cri-o.LinkLogs",
    PLATFORM_RUNTIME_PATH: "io.kubernetes.cri-o.PlatformRuntimePath",
    POD_LINUX_OVERHEAD: "io.kubernetes.cri-o.PodLinuxOverhead",
    POD_LINUX_RESOURCES: "io.kubernetes.cri-o.PodLinuxResources",
    SECCOMP_NOTIFIER_ACTION: "io.kubernetes.cri-o.seccompNotifierAction",
    SECCOMP_PROFILE: "seccomp-profile.kubernetes.cri-o.io",
    SHM_SIZE: "io.kubernetes.cri-o.ShmSize",
    SPOOFED: "io.kubernetes.cri-o.Spoofed",
    TRY_SKIP_VOLUME_SELINUX_LABEL: "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel",
    UMASK: "io.kubernetes.cri-o.umask",
    UNIFIED_CGROUP: "io.kubernetes.cri-o.UnifiedCgroup",
    USERNS_MODE: "io.kubernetes.cri-o.userns-mode",
}

FEATURES = frozenset(
    {
        *OLDER,
        CPU_C_STATES,
        CPU_FREQ_GOVERNOR,
        CPU_LOAD_BALANCING,
        CPU_QUOTA,
        CPU_SHARED,
        IRQ_LOAD_BALANCING,
        RDT_CLASS,
        ROOTFS_QUOTA,
        SKIP_GOMAXPROCS,
        STOP_SIGNAL,
        TRACE_SYSCALL,
        ULIMITS,
    }
)
"""Everything with a meaning to this daemon, in the newer spelling."""

RUNTIME_OWNED = frozenset(
    {
        "bundle",
        "org.systemd.property.",
        "org.criu.config",
        "module.wasm.image/variant",
        "io.kubernetes.cri.container-type",
        "run.oci.",
    }
)
"""Beginnings of names with a meaning to OCI runtimes: some of them run commands on the host (CVE-2024-3154)."""


def find(annotations: Mapping[str, str], name: str, container: str | None = None) -> str | None:
    """The value of an annotation, in whichever spelling; with `container`, that container's own value first."""
    if container is not None:
        for suffix in (f"/{container}", f".{container}"):
            value = _either(annotations, name, suffix)
            if value is not None:
                return value
    return _either(annotations, name, "")


def find_for(annotations: Mapping[str, str], name: str, container: str) -> str | None:
    """As `find`, for annotations that have a meaning only with a container's name."""
    value = _either(annotations, name, f"/{container}")
    return value if value is not None else _either(annotations, name, f".{container}")


def is_true(annotations: Mapping[str, str], name: str) -> bool:
    return find(annotations, name) == "true"


def parse_size(text: str) -> int | None:
    """Bytes of a size such as "512Mi", "2G" or "65536"; None for a text that is none. "Ki" and "K" are both 1024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    size = int(match[1]) << (10 * " KMGT".index((match[2] or " ").upper()))
    return size if size < 1 << 62 else None


def _either(annotations: Mapping[str, str], name: str, suffix: str) -> str | None:
    value = annotations.get(name + suffix)
    if value is None and name in OLDER:
        value = annotations.get(OLDER[name] + suffix)
    return value
