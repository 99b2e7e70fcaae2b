"""What may be mounted over the kernel's own view of processes: a fake one would fool every check that reads it."""

from __future__ import annotations

import posixpath

from crio.base.errors import InvalidArgument

_ALLOWED = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "loadavg",
        "meminfo",
        "slabinfo",
        "stat",
        "swaps",
        "uptime",
        "sys/crypto/fips_enabled",
        "sys/kernel/ns_last_pid",
    )
)
"""What lxcfs and its like put there; runc has the same list."""


def check_destination(path: str) -> None:
    """Raise InvalidArgument for a mount below /proc: it could hide a security label that is written there.

    CVE-2019-16884, CVE-2023-28642. /proc itself may be another procfs, the host's for instance.
    """
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean.startswith("/proc/") and clean not in _ALLOWED:
        raise InvalidArgument(f"cannot mount at {path[:200]}: nothing may be mounted below /proc; mount it elsewhere")
