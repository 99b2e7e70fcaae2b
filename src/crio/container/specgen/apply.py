"""Does what a plan lists. Everything in the container's root is resolved by the kernel below it (CVE-2024-5154).

An image may hold any link at any place; none leads out of the root, and what is not as expected is an error rather than
something written elsewhere. Blocking; a few system calls for each effect.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections.abc import Sequence

from crio.base.errors import InvalidArgument
from crio.container.specgen import root
from crio.container.specgen.mapped import map_owners, try_owners
from crio.container.specgen.plan import (
    CopyTree,
    Effect,
    MakeDirectory,
    MakeHostDirectory,
    MakeLink,
    MapOwners,
    Relabel,
    RemoveFile,
    TryOwners,
    WriteFile,
)
from crio.linux.openat2 import mkdir_in_root, open_in_root

_MAX_COPY_FILES = 10_000
_MAX_COPY_BYTES = 64 << 20
_MAX_LINKS = 40


def apply_effects(effects: Sequence[Effect], rootfs: str) -> None:
    """Apply the effects in order. May be repeated.

    Raises InvalidArgument when the image is in the way, OSError otherwise; what was done until then goes with the
    container's root and directory.
    """
    with root.opened(rootfs) as root_fd:
        for effect in effects:
            match effect:
                case MakeDirectory():
                    _make_directory(root_fd, effect)
                case MakeLink():
                    _make_link(root_fd, effect)
                case RemoveFile():
                    _remove(root_fd, effect.path)
                case WriteFile():
                    _write(effect)
                case MakeHostDirectory():
                    _make_host_directory(effect.path, effect.mode, effect.uid, effect.gid)
                case CopyTree():
                    _copy(effect)
                case MapOwners():
                    map_owners(effect)
                case TryOwners():
                    try_owners(effect)


def apply_relabels(relabels: Sequence[Relabel], cancelled: threading.Event | None = None) -> int:
    """Give volumes their SELinux label; how many files were changed. May take minutes: run it in a thread."""
    from crio.security.relabel import relabel  # lazy: only with SELinux

    return sum(relabel(item.path, item.label, trust_top=item.trust_top, cancelled=cancelled) for item in relabels)


def _make_directory(root_fd: int, effect: MakeDirectory) -> None:
    try:
        os.close(mkdir_in_root(root_fd, effect.path, effect.mode, uid=effect.uid, gid=effect.gid))
    except NotADirectoryError:
        raise InvalidArgument(f"cannot make {effect.path} in the container: a file is in the way") from None
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        target = _dangling_target(root_fd, effect.path)
        if target.startswith(("/proc/", "/dev/")):
            # The runtime would enter it when /proc is mounted, and might find itself on the host (CVE-2024-21626).
            raise InvalidArgument(f"cannot make {effect.path} in the container: it leads to {target}") from None
        # A link into a volume that is mounted later: whether it leads anywhere is for the runtime to find.


def _dangling_target(root_fd: int, path: str) -> str:
    """Where a path with a dangling link leads, as text; the links are those of the root."""
    current = "/"
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for _ in range(_MAX_LINKS * 8):
        if not parts:
            return current
        part = parts.pop(0)
        if part == "..":
            current = os.path.dirname(current)
            continue
        link = _link_in_root(root_fd, current, part)
        if link is None:
            current = os.path.join(current, part)
            continue
        if link.startswith("/"):
            current = "/"
        parts = [*(item for item in link.split("/") if item not in ("", ".")), *parts]
    raise InvalidArgument(f"cannot make {path} in the container: too many links")


def _link_in_root(root_fd: int, directory: str, name: str) -> str | None:
    try:
        fd = open_in_root(root_fd, directory, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        return os.readlink(name, dir_fd=fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def _make_link(root_fd: int, effect: MakeLink) -> None:
    parent, name = os.path.split(effect.path)
    try:
        fd = open_in_root(root_fd, parent, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        # /etc is a link into a volume: the link would be hidden anyway.
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            return
        raise
    try:
        if effect.replace:
            _unlink(fd, name)
        try:
            os.symlink(effect.target, name, dir_fd=fd)
        except FileExistsError:
            pass
    finally:
        os.close(fd)


def _remove(root_fd: int, path: str) -> None:
    parent, name = os.path.split(path)
    try:
        fd = open_in_root(root_fd, parent, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            return
        raise
    try:
        _unlink(fd, name)
    finally:
        os.close(fd)


def _unlink(parent_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent_fd)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise InvalidArgument(f"cannot replace {name} in the container: it is a directory") from None


def _write(effect: WriteFile) -> None:
    """A file in a directory of ours; written anew if a former try left one."""
    _make_host_directory(os.path.dirname(effect.path), 0o755, -1, -1)
    fd = os.open(effect.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(effect.data)
        while view:
            view = view[os.write(fd, view) :]
        if (effect.uid, effect.gid) != (-1, -1):
            os.fchown(fd, effect.uid, effect.gid)
        os.fchmod(fd, effect.mode & 0o7777)
    finally:
        os.close(fd)


def _make_host_directory(path: str, mode: int, uid: int, gid: int) -> None:
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        _make_host_directory(parent, mode, -1, -1)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    if (uid, gid) != (-1, -1):
        os.chown(path, uid, gid)


def _copy(effect: CopyTree) -> None:
    """Regular files and directories with their modes, links followed; anything else is left out."""
    budget = _Budget(effect.source)
    _make_host_directory(os.path.dirname(effect.target), 0o755, -1, -1)
    _copy_one(effect.source, effect.target, effect.uid, effect.gid, budget, frozenset())


def _copy_one(source: str, target: str, uid: int, gid: int, budget: _Budget, above: frozenset[tuple[int, int]]) -> None:
    try:
        status = os.stat(source)
    except FileNotFoundError:
        return
    if stat.S_ISREG(status.st_mode):
        budget.take(status.st_size)
        shutil.copyfile(source, target)
    elif stat.S_ISDIR(status.st_mode):
        key = (status.st_dev, status.st_ino)
        if key in above:
            return
        budget.take(0)
        os.makedirs(target, exist_ok=True)
        with os.scandir(source) as entries:
            for entry in entries:
                _copy_one(entry.path, os.path.join(target, entry.name), uid, gid, budget, above | {key})
    else:
        return
    os.chmod(target, stat.S_IMODE(status.st_mode))
    if (uid, gid) != (-1, -1):
        os.chown(target, uid, gid)


class _Budget:
    """How much one source of mounts.conf may hold."""

    def __init__(self, source: str) -> None:
        self._source, self._files, self._bytes = source, _MAX_COPY_FILES, _MAX_COPY_BYTES

    def take(self, size: int) -> None:
        self._files -= 1
        self._bytes -= size
        if self._files < 0 or self._bytes < 0:
            raise InvalidArgument(
                f"cannot copy {self._source} of mounts.conf: it has more than {_MAX_COPY_FILES} files or "
                f"{_MAX_COPY_BYTES >> 20} MiB"
            )
