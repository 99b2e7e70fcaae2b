"""Overlay by a program in user space (mount_program, such as fuse-overlayfs), for file systems under which the kernel's
overlay cannot work, and for forced modes.
"""

from __future__ import annotations

import os

from crio.linux.overlay import OverlayMount
from crio.storage.driver.programs import run_program

OVERRIDE = "user.containers.override_stat"
"""Attribute with the owner and mode that a file has in the container: `UID:GID:MODE`, the mode octal."""

_TIMEOUT = 60.0
_FLAG_NAMES = {0x1: "ro", 0x2: "nosuid", 0x4: "nodev", 0x8: "noexec", 0x400: "noatime"}
_KERNEL_ONLY = ("metacopy=", "redirect_dir=", "index=", "xino=", "volatile", "userxattr")


def mount(program: str, plan: OverlayMount, *, forced_modes: bool) -> None:
    """Have `program` mount it; it goes on by itself until the mount is gone. Raises ProcessFailed, OSError."""
    os.makedirs(plan.target, mode=0o700, exist_ok=True)
    flags = [name for flag, name in _FLAG_NAMES.items() if plan.flags & flag]
    options = [option for option in plan.options if not option.startswith(_KERNEL_ONLY)]
    if forced_modes:
        options.append("xattr_permissions=2")
    # Paths are the store's own, and have no comma; OverlayMount escapes the rest as libfuse understands it.
    data = ",".join([OverlayMount(plan.target, plan.lowers, plan.upper, plan.work).data(), *options, *flags])
    run_program([program, "-o", data, plan.target], timeout=_TIMEOUT)


def override(uid: int, gid: int, mode: int) -> bytes:
    """The value of `OVERRIDE`."""
    return f"{uid}:{gid}:{mode:04o}".encode()
