"""Capabilities (capabilities(7)): their names, and which of them a process has."""

from __future__ import annotations

import msgspec

NAMES = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
        "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
        "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
        "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
        "PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
"""All capabilities up to Linux 6.18; the index is the number in <linux/capability.h>."""

_LAST_CAP = "/proc/sys/kernel/cap_last_cap"


class CapabilitySets(msgspec.Struct, frozen=True):
    """The five sets of one process, as names."""

    inheritable: frozenset[str]
    permitted: frozenset[str]
    effective: frozenset[str]
    bounding: frozenset[str]
    ambient: frozenset[str]


def known_to_kernel() -> tuple[str, ...]:
    """The capabilities that the running kernel has, in the order of their numbers."""
    try:
        with open(_LAST_CAP, "rb") as file:
            last = int(file.read(16))
    except OSError:
        return NAMES
    return NAMES[: last + 1]


def names_of(mask: int) -> frozenset[str]:
    """The names in a bit mask; bits beyond the known ones are left out."""
    return frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)


def of_process(pid: int | str = "self") -> CapabilitySets:
    """The capabilities of a process. Raises OSError if it is gone."""
    masks: dict[str, int] = {}
    with open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            key, _, value = line.partition(b":")
            if key.startswith(b"Cap"):
                masks[key.decode()] = int(value, 16)
    return CapabilitySets(*(names_of(masks.get(key, 0)) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")))
