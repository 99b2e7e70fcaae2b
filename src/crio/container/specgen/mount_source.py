"""The host side of a bind mount: where its path really leads, and how mounts below it propagate."""

from __future__ import annotations

import errno
import os

from crio.base.errors import InvalidArgument
from crio.linux.openat2 import open_in_root

_CHUNK = 1 << 20
_MAX_TABLE = 64 << 20


class MountSource:
    """An existing path of the host, held open (O_PATH) while it is looked at. Use as a context manager."""

    def __init__(self, path: str, fd: int) -> None:
        self.fd = fd
        resolved = os.readlink(f"/proc/self/fd/{fd}")
        # What lies on no mounted file system (a namespace's file) has a name that is no path.
        self.path = resolved if resolved.startswith("/") else path

    def __enter__(self) -> MountSource:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def open_source(path: str, prefix: str = "") -> MountSource | None:
    """The path with all links resolved, below crio.conf's bind_mount_prefix if there is one; None if it is missing.

    Raises InvalidArgument if it cannot be resolved, for instance through a file.
    """
    try:
        if prefix and prefix != "/":
            root = os.open(prefix, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = open_in_root(root, path, os.O_PATH)
            finally:
                os.close(root)
        else:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidArgument(f"cannot mount {path[:200]}: {reason}") from None
    return MountSource(path, fd)


def nearest_existing(path: str) -> MountSource:
    """The deepest directory above a missing path, which decides how a mount made of it propagates."""
    current = os.path.dirname(os.path.normpath(path)) or "/"
    while True:
        source = open_source(current)
        if source is not None:
            return source
        current = os.path.dirname(current)


class PropagationTable:
    """The propagation of the host's mounts; read once, and only when a container asks for any."""

    def __init__(self, path: str = "/proc/self/mountinfo") -> None:
        self._path = path
        self._table: bytes | None = None

    def of(self, source: MountSource) -> str:
        """ "shared", "slave" or "private": of the mount that `source` lies on."""
        line = self._line(_mount_id(source.fd))
        fields = line.partition(b" - ")[0].split(b" ")[6:]
        if any(field.startswith(b"shared:") for field in fields):
            return "shared"
        if any(field.startswith(b"master:") for field in fields):
            return "slave"
        return "private"

    def _line(self, mount_id: bytes) -> bytes:
        if self._table is None:
            self._table = b"\n" + _read(self._path)
        start = self._table.find(b"\n" + mount_id + b" ")
        if start < 0:
            return b""
        return self._table[start + 1 : self._table.find(b"\n", start + 1)]


def _mount_id(fd: int) -> bytes:
    """The mount's number in mountinfo, from the kernel's own view of the descriptor (Linux 3.15)."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return line[7:].strip()
    raise OSError(errno.ENODATA, "the kernel tells no mount id", f"/proc/self/fdinfo/{fd}")


def _read(path: str) -> bytes:
    data = bytearray()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while chunk := os.read(fd, _CHUNK):
            data += chunk
            if len(data) > _MAX_TABLE:
                raise InvalidArgument(f"cannot tell how mounts propagate: {path} is longer than {_MAX_TABLE >> 20} MiB")
    finally:
        os.close(fd)
    return bytes(data)


def require_propagation(source: MountSource, table: PropagationTable, *, shared: bool, path: str) -> None:
    """Raises InvalidArgument unless the mount under `source` is shared (or, unless `shared`, a slave)."""
    found = table.of(source)
    if found == "shared" or (found == "slave" and not shared):
        return
    wanted = "a shared mount" if shared else "a shared or slave mount"
    raise InvalidArgument(
        f"cannot mount {path[:200]} with propagation: it lies on a {found} mount, and not on {wanted}; "
        "make it so with mount --make-rshared"
    )
