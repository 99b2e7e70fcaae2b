"""Mounts: mount(2), the file-descriptor mount calls of Linux 5.2 to 5.12, and the table of what is mounted.

Nothing here decides what to mount. Paths are the caller's: inside a container's root use descriptors from `openat2`
(`/proc/self/fd/N` as source or target), never a joined string.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator

import msgspec

from crio.base.errors import ResourceExhausted
from crio.base.regex import regex
from crio.linux.libc import check, libc, syscall

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

_OPEN_TREE_CLONE = 1

_MOVE_MOUNT_F_EMPTY_PATH = 0x4

_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_IDMAP = 0x100000

_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_STATX_ATTR_MOUNT_ROOT = 0x2000
_AT_NO_AUTOMOUNT = 0x800

MAX_MOUNTINFO = 64 << 20
"""Bytes of /proc/PID/mountinfo that are read at most: about 300,000 mounts, three times the kernel's default limit."""

libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2). `data` longer than a page minus one byte is cut by the kernel: use `fsopen` for it."""
    check(
        libc.mount(
            None if source is None else os.fsencode(source),
            os.fsencode(target),
            None if fstype is None else fstype.encode(),
            flags,
            None if data is None else os.fsencode(data),
        ),
        target,
    )


def umount(target: str, flags: int = 0) -> None:
    """umount2(2): pass MNT_DETACH for a lazy unmount, UMOUNT_NOFOLLOW where the path is not wholly the caller's."""
    check(libc.umount2(os.fsencode(target), flags), target)


def bind(source: str, target: str, *, recursive: bool = False) -> None:
    """Bind `source` on `target`; with `recursive` also what is mounted below it."""
    mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))


def set_propagation(target: str, propagation: int, *, recursive: bool = False) -> None:
    """`propagation` is one of MS_PRIVATE, MS_SLAVE, MS_SHARED."""
    mount(None, target, None, propagation | (MS_REC if recursive else 0))


def make_private(target: str) -> None:
    set_propagation(target, MS_PRIVATE)


def make_rshared(target: str) -> None:
    set_propagation(target, MS_SHARED, recursive=True)


def open_tree(path: str, *, recursive: bool = False) -> int:
    """open_tree(2), Linux 5.2: a detached copy of the mount at `path`, with `recursive` of all that is mounted below.

    The caller closes the descriptor; a copy that was not moved into place vanishes then.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    result = libc.syscall(
        ctypes.c_long(_OPEN_TREE), ctypes.c_long(AT_FDCWD), ctypes.c_char_p(os.fsencode(path)), ctypes.c_ulong(flags)
    )
    return check(int(result), path)


def move_mount(mount_fd: int, target: str) -> None:
    """move_mount(2), Linux 5.2: attach a detached mount."""
    result = libc.syscall(
        ctypes.c_long(_MOVE_MOUNT),
        ctypes.c_long(mount_fd),
        ctypes.c_char_p(b""),
        ctypes.c_long(AT_FDCWD),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_ulong(_MOVE_MOUNT_F_EMPTY_PATH),
    )
    check(int(result), f"fd {mount_fd}", target)


def mount_setattr(mount_fd: int, *, userns_fd: int) -> None:
    """mount_setattr(2), Linux 5.12: map the owners of a detached mount as in the user namespace `userns_fd`."""
    _set_attributes(mount_fd, _MountAttr(attr_set=_MOUNT_ATTR_IDMAP, userns_fd=userns_fd))


def _set_attributes(mount_fd: int, attributes: _MountAttr) -> None:
    result = libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_long(mount_fd),
        ctypes.c_char_p(b""),
        ctypes.c_ulong(_AT_EMPTY_PATH),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    check(int(result), f"fd {mount_fd}")


def has_mount_setattr() -> bool:
    """Whether the kernel can map owners and make whole trees read-only (Linux 5.12)."""
    try:
        mount_setattr(-1, userns_fd=-1)
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def clone_read_only(path: str) -> int:
    """A detached copy of the mount at `path`, or of the file there alone, that nothing can be changed through.

    It is in no namespace, so it vanishes with its last descriptor and the last process that runs from it. Linux 5.12.
    """
    tree = open_tree(path)
    try:
        _set_attributes(tree, _MountAttr(attr_set=_MOUNT_ATTR_RDONLY))
    except BaseException:
        os.close(tree)
        raise
    return tree


def fsopen(fstype: str) -> int:
    """fsopen(2), Linux 5.2: a context in which a file system is configured. The caller closes it."""
    return syscall(_FSOPEN, ctypes.c_char_p(fstype.encode()), ctypes.c_ulong(_FSOPEN_CLOEXEC))


def fsconfig_set(context_fd: int, key: str, value: str | None = None) -> None:
    """Set one option: a flag if `value` is None, else a string of up to 255 bytes."""
    command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
    _fsconfig(context_fd, command, key, None if value is None else os.fsencode(value))


def fsconfig_create(context_fd: int) -> None:
    """Make the file system that was configured. Raises OSError with the kernel's own words for a failure."""
    _fsconfig(context_fd, _FSCONFIG_CMD_CREATE, None, None)


def fsmount(context_fd: int, attributes: int = 0) -> int:
    """fsmount(2): a detached mount of the file system that was made; attach it with `move_mount`, then close it."""
    return syscall(_FSMOUNT, ctypes.c_long(context_fd), ctypes.c_ulong(_FSMOUNT_CLOEXEC), ctypes.c_ulong(attributes))


def is_mount_point(path: str) -> bool:
    """Whether something is mounted exactly at `path`, bind mounts of files included. False if it does not exist.

    One statx(2) (Linux 5.8); never follows a final symlink, never triggers an automount.
    """
    buffer = ctypes.create_string_buffer(256)
    flags = AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT
    try:
        check(libc.statx(AT_FDCWD, os.fsencode(path), flags, 0, buffer), path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    attributes = int.from_bytes(buffer.raw[8:16], "little")
    return bool(attributes & _STATX_ATTR_MOUNT_ROOT)


class MountInfo(msgspec.Struct, frozen=True):
    """One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), escapes undone."""

    mount_id: int
    parent_id: int
    device: str
    """`major:minor`."""
    root: str
    mount_point: str
    options: str
    propagation: tuple[str, ...]
    """`shared:N`, `master:N`, `propagate_from:N`, `unbindable`; empty for a private mount."""
    fstype: str
    source: str
    super_options: str


_ESCAPE = regex(rb"\\([0-7]{3})")


def parse_mountinfo_line(line: str) -> MountInfo:
    """Raises ValueError if the line does not have the fields of mountinfo."""
    left, separator, right = line.rstrip("\n").partition(" - ")
    head, tail = left.split(" "), right.split(" ")
    if not separator or len(head) < 6 or len(tail) < 3:
        raise ValueError(f"cannot parse mountinfo line {line[:200]!r}: fields are missing")
    return MountInfo(
        int(head[0]),
        int(head[1]),
        head[2],
        _unescape(head[3]),
        _unescape(head[4]),
        head[5],
        tuple(head[6:]),
        tail[0],
        _unescape(tail[1]),
        tail[2],
    )


def mounts() -> Iterator[MountInfo]:
    """Every mount that this process sees, in the kernel's order: a later one on the same point hides an earlier one.

    Raises OSError, and ResourceExhausted beyond MAX_MOUNTINFO bytes.
    """
    path = "/proc/self/mountinfo"
    size = 0
    with open(path, "rb", buffering=1 << 16) as table:
        while line := table.readline(MAX_MOUNTINFO):
            size += len(line)
            if size > MAX_MOUNTINFO:
                raise ResourceExhausted(f"cannot read {path}: it is longer than {MAX_MOUNTINFO} bytes")
            yield parse_mountinfo_line(os.fsdecode(line))


def mounts_below(path: str, *, include_itself: bool = True) -> list[MountInfo]:
    """The mounts at and below the absolute `path`, deepest and newest first: the order in which to unmount them."""
    prefix = path.rstrip("/") + "/"
    found = [
        info
        for info in mounts()
        if info.mount_point.startswith(prefix) or (include_itself and info.mount_point == path)
    ]
    found.reverse()
    found.sort(key=lambda info: info.mount_point.count("/"), reverse=True)
    return found


def unmount_below(path: str, *, include_itself: bool = True, flags: int = MNT_DETACH | UMOUNT_NOFOLLOW) -> int:
    """Unmount everything at and below `path`; the number of mounts that went."""
    found = mounts_below(path, include_itself=include_itself)
    for info in found:
        try:
            umount(info.mount_point, flags)
        except OSError as error:
            # It went together with the lazily detached mount that it sat on.
            if error.errno not in (errno.ENOENT, errno.EINVAL):
                raise
    return len(found)


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), os.fsencode(text)))


def _fsconfig(context_fd: int, command: int, key: str | None, value: bytes | None) -> None:
    result = libc.syscall(
        ctypes.c_long(_FSCONFIG),
        ctypes.c_long(context_fd),
        ctypes.c_ulong(command),
        ctypes.c_char_p(None if key is None else key.encode()),
        ctypes.c_char_p(value),
        ctypes.c_long(0),
    )
    try:
        check(int(result), key)
    except OSError as error:
        if messages := _messages(context_fd):
            raise OSError(error.errno, f"{error.strerror}: {messages}", key) from None
        raise


def _messages(context_fd: int) -> str:
    """What the kernel had to say about a context's last failure: one line, at most 4 KiB, "" if it said nothing."""
    messages: list[str] = []
    while len(messages) < 16:
        try:
            line = os.read(context_fd, 1024)
        except OSError:
            break
        if not line:
            break
        messages.append(line.decode("utf-8", "replace").strip())
    return "; ".join(messages)[:4096]
