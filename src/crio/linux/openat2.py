"""openat2(2) (Linux 5.6): path look-ups that the kernel itself keeps below a directory.

The way to touch a path inside a container's or image's root: no prefix check on strings, no gap between check and use.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from crio.linux.libc import check, libc

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_OPENAT2 = 437
_RETRIES = 64


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(dir_fd: int, path: str | bytes, flags: int, *, resolve: int) -> int:
    """A descriptor of something that exists, close-on-exec; the caller closes it.

    The kernel answers EAGAIN when something was renamed or mounted during a RESOLVE_BENEATH or RESOLVE_IN_ROOT
    look-up; it is tried again 64 times. Raises OSError with the path: EXDEV for an escape, ELOOP for a forbidden link.
    """
    how = _OpenHow(flags=flags | os.O_CLOEXEC, resolve=resolve)
    raw = os.fsencode(path)
    for _ in range(_RETRIES):
        result = int(
            libc.syscall(
                ctypes.c_long(_OPENAT2),
                ctypes.c_long(dir_fd),
                ctypes.c_char_p(raw),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
        )
        if result >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    return check(result, path)


def open_in_root(root_fd: int, path: str | bytes, flags: int) -> int:
    """Open `path` as a process chroot'ed into `root_fd` would: absolute links and `..` end at that root.

    Magic links (/proc/PID/fd and the like) are refused with ELOOP. The caller closes the descriptor.
    """
    return openat2(root_fd, path, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def open_beneath(root_fd: int, path: str | bytes, flags: int) -> int:
    """Open the relative `path` below `root_fd` without following any link; EXDEV or ELOOP if that is not possible."""
    return openat2(root_fd, path, flags, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)


def mkdir_in_root(root_fd: int, path: str, mode: int = 0o755, *, uid: int = -1, gid: int = -1) -> int:
    """Make the directory `path` and its missing parents inside `root_fd`; an O_PATH descriptor of it, for the caller.

    Existing parts are resolved as in `open_in_root`; only directories that this makes get `mode` (less the umask) and
    owner. Raises OSError: NotADirectoryError if a part is a file, FileNotFoundError if it is a dangling link or a `..`
    below something that does not exist.
    """
    flags = os.O_PATH | os.O_DIRECTORY
    parts = [part for part in path.split("/") if part not in ("", ".")]
    missing: list[str] = []
    while True:
        try:
            fd = open_in_root(root_fd, "/".join(parts) or ".", flags)
            break
        except FileNotFoundError:
            if not parts or parts[-1] == "..":
                raise
            missing.append(parts.pop())
    while missing:
        name = missing.pop()
        try:
            child = _make_child(fd, name, mode, uid, gid)
        finally:
            os.close(fd)
        fd = child
    return fd


def _make_child(parent_fd: int, name: str, mode: int, uid: int, gid: int) -> int:
    if name == "..":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    try:
        os.mkdir(name, mode, dir_fd=parent_fd)
        made = True
    except FileExistsError:
        made = False
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        child = os.open(name, flags, dir_fd=parent_fd)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
            raise FileNotFoundError(errno.ENOENT, "a symbolic link to nothing is in the way", name) from None
        raise
    if made and (uid, gid) != (-1, -1):
        try:
            os.chown(name, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
        except BaseException:
            os.close(child)
            raise
    return child
