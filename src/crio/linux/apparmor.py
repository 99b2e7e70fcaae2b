"""AppArmor: whether the kernel enforces it, and which profiles are loaded (securityfs)."""

from __future__ import annotations

_ENABLED = "/sys/module/apparmor/parameters/enabled"
_PROFILES = "/sys/kernel/security/apparmor/profiles"


def is_enabled(path: str = _ENABLED) -> bool:
    """Whether the kernel has AppArmor and it is switched on."""
    try:
        with open(path, "rb") as file:
            return file.read(1) == b"Y"
    except OSError:
        return False


def is_loaded(name: str, path: str = _PROFILES) -> bool:
    """Whether a profile of exactly this name is loaded, in any mode. Raises OSError if the list cannot be read."""
    wanted = name.encode()
    with open(path, "rb") as file:
        return any(line.rpartition(b" (")[0] == wanted for line in file)
