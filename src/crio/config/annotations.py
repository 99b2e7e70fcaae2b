"""Names of annotations with a special meaning, which a handler or workload can allow."""

from __future__ import annotations

from collections.abc import Sequence

CURRENT = (
    "cgroup2-mount-hierarchy-rw.crio.io",
    "cpu-c-states.crio.io",
    "cpu-freq-governor.crio.io",
    "cpu-load-balancing.crio.io",
    "cpu-quota.crio.io",
    "cpu-shared.crio.io",
    "devices.crio.io",
    "disable-fips.crio.io",
    "irq-load-balancing.crio.io",
    "link-logs.crio.io",
    "platform-runtime-path.crio.io",
    "pod-linux-overhead.crio.io",
    "pod-linux-resources.crio.io",
    "seccomp-notifier-action.crio.io",
    "seccomp-profile.crio.io",
    "shm-size.crio.io",
    "skip-gomaxprocs.crio.io",
    "spoofed.crio.io",
    "try-skip-volume-selinux-label.crio.io",
    "umask.crio.io",
    "unified-cgroup.crio.io",
    "userns-mode.crio.io",
)
OLDER = (
    "io.kubernetes.cri-o.DisableFIPS",
    "io.kubernetes.cri-o.Devices",
    "io.kubernetes.cri-o.LinkLogs",
    "io.kubernetes.cri-o.PlatformRuntimePath",
    "io.kubernetes.cri-o.PodLinuxOverhead",
    "io.kubernetes.cri-o.PodLinuxResources",
    "io.kubernetes.cri-o.ShmSize",
    "io.kubernetes.cri-o.Spoofed",
    "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel",
    "io.kubernetes.cri-o.UnifiedCgroup",
    "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw",
    "io.kubernetes.cri-o.seccompNotifierAction",
    "io.kubernetes.cri-o.umask",
    "io.kubernetes.cri-o.userns-mode",
    "seccomp-profile.kubernetes.cri-o.io",
)
RUNTIMES = (
    "bundle",
    "io.containers.trace-syscall",
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri.rdt-class",
    "module.wasm.image/variant",
    "org.criu.config",
    "org.opencontainers.image.stopSignal",
    "org.systemd.property.",
    "run.oci.",
)
"""Names, or with a dot at the end prefixes of names, which OCI runtimes and their hooks act upon."""

GUARDED = frozenset((*CURRENT, *OLDER, *RUNTIMES))
"""All names that a pod may use only where its handler or workload allows them."""


def check_allowed(names: Sequence[str]) -> None:
    """ValueError if one of `names` is no annotation that can be allowed."""
    for name in names:
        if name not in GUARDED:
            import difflib

            near = difflib.get_close_matches(name, sorted(GUARDED), 1)
            raise ValueError(
                f'allowed_annotations has "{name}", which has no special meaning'
                + (f"; the nearest known name is {near[0]}" if near else "")
            )
