"""overlayfs: how layers become one mount, however many there are (kernel Documentation/filesystems/overlayfs.rst)."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Sequence

import msgspec

from crio.linux import mount as mnt
from crio.linux.libc import check, libc

OPAQUE = "trusted.overlay.opaque"
MAX_LAYERS = 500
"""Lower layers of one mount (OVL_MAX_STACK)."""

_CLONE_FS = 0x200
_MAX_DATA = os.sysconf("SC_PAGE_SIZE") - 1


class OverlayMount(msgspec.Struct, frozen=True):
    """What to mount; `describe` and tests read it, `mount_overlay` does it."""

    target: str
    lowers: Sequence[str]
    """Nearest first."""
    upper: str | None = None
    """None for a read-only mount."""
    work: str | None = None
    options: Sequence[str] = ()
    """Further options for overlayfs itself, as `volatile` or `metacopy=on`."""
    flags: int = 0
    """MS_NODEV and the like."""

    def data(self) -> str:
        parts = ["lowerdir=" + ":".join(_escape(lower, ":,\\") for lower in self.lowers)]
        if self.upper is not None and self.work is not None:
            parts += ("upperdir=" + _escape(self.upper, ",\\"), "workdir=" + _escape(self.work, ",\\"))
        return ",".join((*parts, *self.options))


def mount_overlay(plan: OverlayMount, *, home: str) -> None:
    """Mount it. Raises OSError with the target.

    mount(2) takes one page of options. Longer ones are given layer by layer through the new mount calls (`lowerdir+`,
    Linux 6.7), and before that relative to `home`, the directory that most layers lie in, which is about half as long.
    """
    data = plan.data()
    if len(os.fsencode(data)) <= _MAX_DATA:
        mnt.mount("overlay", plan.target, "overlay", plan.flags, data)
        return
    if len(plan.lowers) > MAX_LAYERS:
        raise OSError(errno.E2BIG, f"more than {MAX_LAYERS} layers", plan.target)
    try:
        _mount_layer_by_layer(plan)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        _mount_relative(plan, home)


def _mount_layer_by_layer(plan: OverlayMount) -> None:
    context = mnt.fsopen("overlay")
    try:
        mnt.fsconfig_set(context, "source", "overlay")
        for lower in plan.lowers:
            mnt.fsconfig_set(context, "lowerdir+", lower)
        if plan.upper is not None and plan.work is not None:
            mnt.fsconfig_set(context, "upperdir", plan.upper)
            mnt.fsconfig_set(context, "workdir", plan.work)
        for option in plan.options:
            key, equals, value = option.partition("=")
            mnt.fsconfig_set(context, key, value.strip('"') if equals else None)
        if plan.flags & mnt.MS_RDONLY:
            mnt.fsconfig_set(context, "ro")
        mnt.fsconfig_create(context)
        tree = mnt.fsmount(context, plan.flags & (mnt.MS_RDONLY | mnt.MS_NOSUID | mnt.MS_NODEV | mnt.MS_NOEXEC))
    finally:
        os.close(context)
    try:
        mnt.move_mount(tree, plan.target)
    finally:
        os.close(tree)


def _mount_relative(plan: OverlayMount, home: str) -> None:
    """From a thread with a working directory of its own: the process has only one, and others rely on it."""
    shorter = OverlayMount(
        plan.target,
        [_relative(lower, home) for lower in plan.lowers],
        None if plan.upper is None else _relative(plan.upper, home),
        None if plan.work is None else _relative(plan.work, home),
        plan.options,
        plan.flags,
    )
    data = shorter.data()
    if len(os.fsencode(data)) > _MAX_DATA:
        raise OSError(errno.E2BIG, "too many layers for this kernel (before 6.7)", plan.target)
    failure: list[OSError] = []

    def work() -> None:
        try:
            check(libc.unshare(ctypes.c_int(_CLONE_FS)))
            os.chdir(home)
            mnt.mount("overlay", plan.target, "overlay", plan.flags, data)
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="overlay mount")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _relative(path: str, home: str) -> str:
    prefix = home.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else path


def _escape(path: str, special: str) -> str:
    if not any(character in path for character in special):
        return path
    return "".join("\\" + character if character in special else character for character in path)
