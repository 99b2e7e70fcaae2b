"""GOMAXPROCS for pods without a CPU limit: Go programs would otherwise start a thread for each CPU of the node."""

from __future__ import annotations

from collections.abc import Mapping

from crio.spec.annotations import SKIP_GOMAXPROCS, is_true
from crio.spec.oci_runtime import Cpu

VARIABLE = "GOMAXPROCS"


def gomaxprocs(floor: int, cgroup_parent: str, annotations: Mapping[str, str], cpu: Cpu | None) -> str | None:
    """The value, or None if none is to be set: switched off, a guaranteed pod, or a quota that Go sees itself.

    Twice the requested CPUs (kubelet makes 1024 shares of one), but not below `floor`.
    """
    if floor <= 0 or is_true(annotations, SKIP_GOMAXPROCS):
        return None
    if "burstable" not in cgroup_parent and "besteffort" not in cgroup_parent:
        return None
    if cpu is not None and (cpu.quota or 0) > 0:
        return None
    shares = (cpu.shares if cpu is not None else None) or 0
    return str(max(-(-shares * 2 // 1024), 1, floor))
