"""Project quotas: how much a directory tree may take on xfs, ext4 or f2fs (quotactl(2), ioctl_fs(2)).

A tree belongs to a project by an attribute that new files inherit. Limits are set through a descriptor (quotactl_fd,
Linux 5.14), so that no device node is needed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct

import msgspec

from crio.linux.libc import check, libc

_QUOTACTL_FD = 443
_PRJQUOTA = 2
_Q_GETQUOTA, _Q_SETQUOTA = 0x800007, 0x800008
_Q_XGETQSTAT = 0x5805
_XFS_QUOTA_PDQ_ENFD = 1 << 5
_QIF_BLIMITS, _QIF_ILIMITS = 1, 4
_BLOCK = 1024
_DQBLK = struct.Struct("=QQQQQQQQI4x")
_FSGETXATTR, _FSSETXATTR = 0x801C581F, 0x401C5820
_FSXATTR = struct.Struct("=IIIII8x")
_PROJINHERIT = 0x200


class ProjectUse(msgspec.Struct, frozen=True):
    bytes: int
    inodes: int
    byte_limit: int
    """0 for none."""
    inode_limit: int


def project(fd: int) -> int:
    """The project of a file or directory, 0 for none. OSError (ENOTTY) where the file system has no projects."""
    return int(_FSXATTR.unpack(fcntl.ioctl(fd, _FSGETXATTR, bytes(_FSXATTR.size)))[3])


def set_project(fd: int, id: int) -> None:
    """Put a directory, and everything that will be made in it, into a project. Existing entries stay where they are."""
    flags, extent, count, _, cow = _FSXATTR.unpack(fcntl.ioctl(fd, _FSGETXATTR, bytes(_FSXATTR.size)))
    fcntl.ioctl(fd, _FSSETXATTR, _FSXATTR.pack(flags | _PROJINHERIT, extent, count, id, cow))


def is_enforced(fd: int) -> bool:
    """Whether the file system of `fd` counts and limits projects (mount option prjquota)."""
    buffer = ctypes.create_string_buffer(128)
    try:
        _quotactl(fd, _Q_XGETQSTAT, 0, buffer)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL, errno.ESRCH, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENODEV):
            return False
        raise
    # struct fs_quota_stat: version (1 byte), flags (2 bytes at 2).
    return bool(int.from_bytes(buffer.raw[2:4], "little") & _XFS_QUOTA_PDQ_ENFD)


def use(fd: int, id: int) -> ProjectUse:
    """What a project takes, and its limits."""
    buffer = ctypes.create_string_buffer(_DQBLK.size)
    try:
        _quotactl(fd, _Q_GETQUOTA, id, buffer)
    except OSError as error:
        # xfs knows only projects that ever had a file or a limit.
        if error.errno != errno.ENOENT:
            raise
        return ProjectUse(0, 0, 0, 0)
    blocks, _, space, inodes, _, count, _, _, _ = _DQBLK.unpack(buffer.raw)
    return ProjectUse(space, count, blocks * _BLOCK, inodes)


def limit(fd: int, id: int, *, size: int | None = None, inodes: int | None = None) -> None:
    """Set the limits of a project in bytes (rounded up to a KiB) and files; None is none."""
    blocks = -(-(size or 0) // _BLOCK)
    files = inodes or 0
    data = _DQBLK.pack(blocks, 0, 0, files, 0, 0, 0, 0, _QIF_BLIMITS | _QIF_ILIMITS)
    _quotactl(fd, _Q_SETQUOTA, id, ctypes.create_string_buffer(data, len(data)))


def _quotactl(fd: int, command: int, id: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
    result = libc.syscall(
        ctypes.c_long(_QUOTACTL_FD),
        ctypes.c_uint(fd),
        ctypes.c_uint(command << 8 | _PRJQUOTA),
        ctypes.c_uint(id),
        buffer,
    )
    check(int(result), f"/proc/self/fd/{fd}")
