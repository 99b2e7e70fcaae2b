"""btrfs: subvolumes, snapshots and quota groups by ioctl (include/uapi/linux/btrfs.h)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from crio.linux import filesystem

MAX_NAME = 255

_ROOT_INODE = 256
_SUBVOL_CREATE, _SNAP_DESTROY, _SNAP_CREATE_V2 = 0x5000940E, 0x5000940F, 0x50009417
_QUOTA_CTL, _QGROUP_CREATE, _QGROUP_LIMIT, _INO_LOOKUP = 0xC0109428, 0x4010942A, 0x8030942B, 0xD0009412
_QUOTA_ENABLE = 1
_LIMIT_MAX_EXCLUSIVE = 1 << 1
_VOL_ARGS = struct.Struct("<q4088s")
_VOL_ARGS_V2 = struct.Struct("<qQQ32x4040s")
_LIMIT = struct.Struct("<QQQQQQ")
_QUOTA = struct.Struct("<QQ")
_QGROUP = struct.Struct("<QQ")
_LOOKUP = struct.Struct("<QQ4080s")


def is_btrfs(path: str) -> bool:
    """Whether `path`, or its nearest parent that exists, lies on btrfs."""
    return filesystem.magic(path) == filesystem.BTRFS


def is_subvolume(path: str) -> bool:
    """Whether `path` is the root of a subvolume. False if it does not exist."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return status.st_ino == _ROOT_INODE and is_btrfs(path)


def create_subvolume(path: str) -> None:
    """Make an empty subvolume. Raises OSError, as all of these."""
    with _Directory(os.path.dirname(path)) as fd:
        _ioctl(fd, _SUBVOL_CREATE, _VOL_ARGS.pack(0, _name(path)), path)


def snapshot(source: str, path: str) -> None:
    """Make a writable snapshot of the subvolume `source`: instant, and its blocks are shared."""
    with _Directory(os.path.dirname(path)) as fd, _Directory(source) as source_fd:
        _ioctl(fd, _SNAP_CREATE_V2, _VOL_ARGS_V2.pack(source_fd, 0, 0, _name(path)), path)


def destroy_subvolume(path: str) -> None:
    """Remove a subvolume with all files in it; ENOTEMPTY if there are subvolumes in it. Space comes back later."""
    with _Directory(os.path.dirname(path)) as fd:
        _ioctl(fd, _SNAP_DESTROY, _VOL_ARGS.pack(0, _name(path)), path)


def subvolume_id(path: str) -> int:
    with _Directory(path) as fd:
        answer = _ioctl(fd, _INO_LOOKUP, _LOOKUP.pack(0, _ROOT_INODE, b""), path)
    return int(_LOOKUP.unpack(answer)[0])


def enable_quota(path: str) -> None:
    """Begin to count quota groups on the file system of `path`, for good; nothing if it does so already."""
    with _Directory(path) as fd:
        _ioctl(fd, _QUOTA_CTL, _QUOTA.pack(_QUOTA_ENABLE, 0), path)


def limit_exclusive(path: str, size: int | None) -> None:
    """Limit what a subvolume may hold alone, in bytes; None removes the limit. Quota groups must be enabled."""
    limit = (1 << 64) - 1 if size is None else size
    with _Directory(path) as fd:
        _ioctl(fd, _QGROUP_LIMIT, _LIMIT.pack(0, _LIMIT_MAX_EXCLUSIVE, 0, limit, 0, 0), path)


def remove_quota_group(path: str, id: int) -> None:
    """Forget the quota group of a subvolume that is gone; one that is still counted, or gone already, is no error."""
    with _Directory(path) as fd:
        try:
            _ioctl(fd, _QGROUP_CREATE, _QGROUP.pack(0, id), path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTCONN, errno.EINVAL):
                raise


def _ioctl(fd: int, request: int, argument: bytes, path: str) -> bytes:
    # Bytes of more than a kilobyte are only taken in a buffer that may change.
    buffer = bytearray(argument)
    try:
        fcntl.ioctl(fd, request, buffer, True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    return bytes(buffer)


def _name(path: str) -> bytes:
    name = os.fsencode(os.path.basename(path))
    if len(name) > MAX_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    return name


class _Directory:
    """A descriptor of a directory for the time of a block."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
