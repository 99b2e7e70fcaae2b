"""A layer's tar members, made into files below one directory and never outside it.

Everything is done relative to directory descriptors that the kernel resolved below the layer's root (openat2
RESOLVE_IN_ROOT), the last part of a name is never followed, and files are made with O_EXCL: there is no string to get
wrong and no gap between a check and its use (CVE-2025-47290, CVE-2025-11395). Whiteouts become overlayfs' own marks.
Called by `writer.py`; knows nothing of stores or locks.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections import OrderedDict

from crio.base.errors import InvalidArgument
from crio.linux import overlay, xattr
from crio.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2
from crio.wire.tar import Kind, TarEntry

log = logging.getLogger(__name__)

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_MAX_OPEN = 128
_MAX_ID = 0xFFFFFFFE
MAX_IDS = 1024
"""Owners, and groups, that are noted of one layer; real ones have some dozens. They go into the index of all layers."""
_MAX_TIME = (1 << 63) - 1
_MIN_TIME = -(1 << 31) * 1_000_000_000
_ODD = re.compile(rb"(?:^|/)\.{0,2}(?:/|$)")
_OVERRIDE = "user.containers.override_stat"
"""Where fuse-overlayfs looks for owner and mode (`driver/fuse.py`)."""
_REFUSED_XATTRS = (b"trusted.overlay.", b"user.overlay.", b"user.containers.override_stat", b"security.selinux")


class Unpacker:
    """Takes members and their data in the archive's order. `close` must be called, also after an error."""

    def __init__(
        self,
        root_fd: int,
        aside_fd: int,
        *,
        native_whiteouts: bool = True,
        ignore_chown_errors: bool = False,
        force_mask: int | None = None,
    ) -> None:
        """Files go below `root_fd`. What a later member replaces is moved to `aside_fd`, another directory of the
        same file system, because tar-split data still need it. Both descriptors stay the caller's.

        With `force_mask` every file and directory gets this mode, and its own is kept in an attribute.
        """
        self.uids: set[int] = set()
        """Owners of members, and in `gids` groups; of more than MAX_IDS at least those, the largest."""
        self.gids: set[int] = set()
        self.inodes = 0
        self.displaced: list[tuple[bytes, str]] = []
        """(path, name in the aside directory) of files and directories that were replaced, oldest first."""
        self._root = root_fd
        self._aside = aside_fd
        self._native_whiteouts = native_whiteouts
        self._ignore_chown_errors = ignore_chown_errors
        self._force_mask = force_mask
        self._directories: OrderedDict[bytes, int] = OrderedDict()
        self._directory_times: dict[bytes, int] = {}
        self._whiteouts: set[bytes] = set()
        self._entry: TarEntry | None = None
        self._fd = -1
        self._left = 0
        self._last_parent: bytes | None = None
        self._last_parent_fd = -1

    def member(self, entry: TarEntry) -> bool:
        """Make one member. Whether its data, if any, can later be read back under its name (else: nowhere).

        Raises InvalidArgument if the member may not be in a layer, OSError from the file system.
        """
        name = entry.name
        if name.startswith(b"./"):
            name = name[2:]
        name = name.rstrip(b"/")
        if _ODD.search(name):
            name = clean(name)
        if not name:
            if entry.kind is not Kind.DIRECTORY:
                raise InvalidArgument(f"cannot unpack layer: its root is a {entry.kind.value}")
            return True
        parent, _, base = name.rpartition(b"/")
        if base.startswith(WHITEOUT) and self._native_whiteouts:
            self._left = entry.size
            self._whiteout(entry, parent, base)
            return False
        if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
            raise InvalidArgument(f"cannot unpack layer: {name[:200]!r} has the impossible owner {entry.uid}")
        self.uids.add(entry.uid)
        self.gids.add(entry.gid)
        if len(self.uids) > 2 * MAX_IDS or len(self.gids) > 2 * MAX_IDS:
            self.uids, self.gids = set(largest(self.uids)), set(largest(self.gids))
        if parent == self._last_parent:
            parent_fd = self._last_parent_fd
        else:
            parent_fd = self._directory(parent)
            self._last_parent, self._last_parent_fd = parent, parent_fd
        if entry.kind is Kind.FILE:
            self._file(entry, name, parent_fd, base)
        elif entry.kind is Kind.DIRECTORY:
            self._make_directory(entry, name, parent_fd, base)
        else:
            self._special(entry, name, parent_fd, base)
        return True

    def data(self, piece: bytes) -> None:
        """The next bytes of the member's data."""
        self._left -= len(piece)
        if self._fd < 0:
            return
        entry = self._entry
        assert entry is not None
        if entry.sparse is None:
            written = os.write(self._fd, piece)
            while written < len(piece):
                written += os.write(self._fd, piece[written:])
        else:
            self._write_sparse(entry, piece)
        if self._left == 0:
            self._finish_file(entry)

    def finish(self) -> None:
        """Give directories their times: only now does nothing change in them any more."""
        for name, mtime in self._directory_times.items():
            try:
                os.utime(self._open(name), ns=(mtime, mtime))
            except (FileNotFoundError, NotADirectoryError):
                continue

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._forget_directories()

    # Files

    def _file(self, entry: TarEntry, name: bytes, parent_fd: int, base: bytes) -> None:
        try:
            fd = os.open(base, _CREATE, 0o600, dir_fd=parent_fd)
        except FileExistsError:
            parent_fd = self._displace(name, base)
            fd = os.open(base, _CREATE, 0o600, dir_fd=parent_fd)
        self.inodes += 1
        self._entry, self._fd, self._left = entry, fd, entry.size
        if not entry.size:
            self._finish_file(entry)

    def _finish_file(self, entry: TarEntry) -> None:
        fd = self._fd
        if entry.sparse is not None:
            os.ftruncate(fd, entry.real_size)
        self._chown(fd, entry)
        os.fchmod(fd, entry.mode)
        if entry.xattrs:
            _set_xattrs(entry, fd)
        if self._force_mask is not None:
            self._force_mode(fd, entry.uid, entry.gid, entry.mode, self._force_mask)
        mtime = _time(entry)
        os.utime(fd, ns=(mtime, mtime))
        self._fd = -1
        os.close(fd)

    def _write_sparse(self, entry: TarEntry, piece: bytes) -> None:
        assert entry.sparse is not None
        done = entry.size - self._left - len(piece)
        view = memoryview(piece)
        position = 0
        for offset, length in entry.sparse:
            if not view:
                return
            if done < position + length:
                inside = done - position
                part = view[: length - inside]
                written = 0
                while written < len(part):
                    written += os.pwrite(self._fd, part[written:], offset + inside + written)
                view = view[len(part) :]
                done += len(part)
            position += length

    # Everything else

    def _make_directory(self, entry: TarEntry, name: bytes, parent_fd: int, base: bytes) -> None:
        opaque = False
        try:
            os.mkdir(base, 0o700, dir_fd=parent_fd)
            self.inodes += 1
        except FileExistsError:
            mode = os.stat(base, dir_fd=parent_fd, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(mode):
                opaque = name in self._whiteouts
                parent_fd = self._displace(name, base)
                os.mkdir(base, 0o700, dir_fd=parent_fd)
        fd = os.open(base, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
        try:
            self._chown(fd, entry)
            os.fchmod(fd, entry.mode)
            _set_xattrs(entry, fd)
            if self._force_mask is not None:
                self._force_mode(fd, entry.uid, entry.gid, entry.mode, self._force_mask)
            if opaque:
                os.setxattr(fd, overlay.OPAQUE, b"y")
        except BaseException:
            os.close(fd)
            raise
        self._directory_times[name] = _time(entry)
        self._keep(name, fd)

    def _special(self, entry: TarEntry, name: bytes, parent_fd: int, base: bytes) -> None:
        try:
            self._make_special(entry, parent_fd, base)
        except FileExistsError:
            if entry.kind is Kind.HARD_LINK and clean(entry.linkname) == name:
                return
            parent_fd = self._displace(name, base)
            self._make_special(entry, parent_fd, base)
        if entry.kind is Kind.HARD_LINK:
            return
        self.inodes += 1
        try:
            os.chown(base, entry.uid, entry.gid, dir_fd=parent_fd, follow_symlinks=False)
        except OSError:
            if not self._ignore_chown_errors:
                raise
        if entry.kind is not Kind.SYMLINK:
            # The name was made just now by this process in a directory of mode 0700: it cannot be a link.
            os.chmod(base, entry.mode, dir_fd=parent_fd)
        if entry.xattrs:
            _set_xattrs(entry, xattr.path_at(parent_fd, base), follow_symlinks=False)
        mtime = _time(entry)
        os.utime(base, ns=(mtime, mtime), dir_fd=parent_fd, follow_symlinks=False)

    def _make_special(self, entry: TarEntry, parent_fd: int, base: bytes) -> None:
        match entry.kind:
            case Kind.SYMLINK:
                if not entry.linkname:
                    raise InvalidArgument(f"cannot unpack layer: the link {entry.name[:200]!r} has no target")
                os.symlink(entry.linkname, base, dir_fd=parent_fd)
            case Kind.HARD_LINK:
                target = clean(entry.linkname)
                if not target:
                    raise InvalidArgument(f"cannot unpack layer: the link {entry.name[:200]!r} has no target")
                target_parent, _, target_base = target.rpartition(b"/")
                target_fd = self._open(target_parent)
                os.link(target_base, base, src_dir_fd=target_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
            case Kind.FIFO:
                os.mkfifo(base, 0o600, dir_fd=parent_fd)
            case kind:
                form = stat.S_IFCHR if kind is Kind.CHARACTER_DEVICE else stat.S_IFBLK
                os.mknod(base, form | 0o600, _device(entry), dir_fd=parent_fd)

    def _whiteout(self, entry: TarEntry, parent: bytes, base: bytes) -> None:
        try:
            parent_fd = self._directory(parent, revive=False)
        except NotADirectoryError:
            # The parent itself was whited out, so there is nothing left to hide.
            return
        if base == OPAQUE:
            os.setxattr(parent_fd, overlay.OPAQUE, b"y")
            return
        hidden = base[len(WHITEOUT) :]
        if base.startswith(_AUFS) or hidden in (b"", b".", b".."):
            return
        name = parent + b"/" + hidden if parent else hidden
        try:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent_fd)
        except FileExistsError:
            # Whiteouts speak of lower layers only. What this layer has of that name stays, and hides them.
            if stat.S_ISDIR(os.stat(hidden, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                os.setxattr(self._open(name), overlay.OPAQUE, b"y")
            return
        self.inodes += 1
        self._whiteouts.add(name)
        if 0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID:
            os.chown(hidden, entry.uid, entry.gid, dir_fd=parent_fd, follow_symlinks=False)

    def _chown(self, fd: int, entry: TarEntry) -> None:
        try:
            os.fchown(fd, entry.uid, entry.gid)
        except OSError:
            if not self._ignore_chown_errors:
                raise

    def _force_mode(self, fd: int, uid: int, gid: int, mode: int, mask: int) -> None:
        os.setxattr(fd, _OVERRIDE, f"{uid}:{gid}:{mode:04o}".encode())
        os.fchmod(fd, mask)

    # Directories and what is in the way

    def _directory(self, name: bytes, *, revive: bool = True) -> int:
        """A descriptor of a directory, made with its parents (0755, root) if it is missing; valid until two more.

        With `revive` a directory that this layer has whited out comes back, empty; else that is NotADirectoryError.
        """
        missing: list[bytes] = []
        existing = name
        while True:
            try:
                fd = self._open(existing)
                break
            except FileNotFoundError:
                pass
            except NotADirectoryError:
                if not revive:
                    raise
            missing.append(existing)
            existing = existing.rpartition(b"/")[0]
        while missing:
            fd = self._make_parent(missing.pop(), fd)
        return fd

    def _make_parent(self, name: bytes, parent_fd: int) -> int:
        base = name.rpartition(b"/")[2]
        opaque = name in self._whiteouts
        if opaque:
            parent_fd = self._displace(name, base)
        try:
            os.mkdir(base, 0o755, dir_fd=parent_fd)
        except FileExistsError:
            raise InvalidArgument(
                f"cannot unpack layer: {name[:200]!r}, parent of another member, is not a directory"
            ) from None
        self.inodes += 1
        fd = os.open(base, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
        self._keep(name, fd)
        os.fchmod(fd, 0o755)
        if self._force_mask is not None:
            self._force_mode(fd, 0, 0, 0o755, self._force_mask)
        if opaque:
            os.setxattr(fd, overlay.OPAQUE, b"y")
        return fd

    def _open(self, name: bytes) -> int:
        """A descriptor of an existing directory of this layer, links resolved inside it. Valid until two more."""
        fd = self._directories.get(name, -1)
        if fd >= 0:
            self._directories.move_to_end(name)
            return fd
        fd = openat2(self._root, name or b".", _OPEN_DIRECTORY, resolve=_RESOLVE)
        self._keep(name, fd)
        return fd

    def _keep(self, name: bytes, fd: int) -> None:
        old = self._directories.pop(name, -1)
        if old >= 0:
            os.close(old)
            self._last_parent = None
        self._directories[name] = fd
        if len(self._directories) > _MAX_OPEN:
            oldest, old = self._directories.popitem(last=False)
            os.close(old)
            if oldest == self._last_parent:
                self._last_parent = None

    def _forget_directories(self) -> None:
        self._last_parent = None
        while self._directories:
            os.close(self._directories.popitem()[1])

    def _displace(self, name: bytes, base: bytes) -> int:
        """Take away what has this name in the layer, and return a descriptor of its parent.

        Descriptors of directories are dropped: some may lie below what goes.
        """
        self._forget_directories()
        parent = name.rpartition(b"/")[0]
        parent_fd = self._open(parent)
        self._last_parent, self._last_parent_fd = parent, parent_fd
        status = os.stat(base, dir_fd=parent_fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size):
            saved = str(len(self.displaced))
            os.rename(base, saved, src_dir_fd=parent_fd, dst_dir_fd=self._aside)
            self.displaced.append((name, saved))
        else:
            os.unlink(base, dir_fd=parent_fd)
            self._whiteouts.discard(name)
        return parent_fd


def largest(ids: set[int]) -> list[int]:
    """MAX_IDS of them, rising; what matters of a layer's owners is how far they reach."""
    return sorted(ids)[-MAX_IDS:]


def clean(name: bytes) -> bytes:
    """A member's name without leading `/`, `.` parts and trailing `/`, `..` resolved by text as other engines do.

    Raises InvalidArgument if it climbs above the root.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not parts:
                raise InvalidArgument(f"cannot unpack layer: {name[:200]!r} lies outside of it")
            parts.pop()
        else:
            parts.append(part)
    return b"/".join(parts)


def _set_xattrs(entry: TarEntry, target: int | bytes, *, follow_symlinks: bool = True) -> None:
    for key, value in entry.xattrs.items():
        # overlayfs' own marks would let an image redirect look-ups; labels come from the mount.
        if key.startswith(_REFUSED_XATTRS):
            continue
        try:
            os.setxattr(target, key, value, follow_symlinks=follow_symlinks)
        except OSError as error:
            # A file system without user attributes loses them, as with every other engine; capabilities must stay.
            if error.errno not in (errno.ENOTSUP, errno.EPERM) or key == b"security.capability":
                raise
            log.debug("cannot set attribute %r of %r: %s", key, entry.name, error)


def _time(entry: TarEntry) -> int:
    """Times that the kernel has no room for become 1970, as other engines do."""
    return entry.mtime_ns if _MIN_TIME <= entry.mtime_ns <= _MAX_TIME else 0


def _device(entry: TarEntry) -> int:
    if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
        raise InvalidArgument(f"cannot unpack layer: the device {entry.name[:200]!r} has an impossible number")
    return os.makedev(entry.major, entry.minor)
