"""The files of a pod that its containers share: resolv.conf, hostname, .containerenv and /dev/shm."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.base.files import read_bounded, write_new
from crio.linux import mount, selinux
from crio.spec.annotations import SHM_SIZE, find, parse_size

HOST_RESOLV_CONF = "/etc/resolv.conf"
_RESOLV_LIMIT = 64 << 10
DEFAULT_SHM_SIZE = 64 << 20
_LEAST_SHM_SIZE = 4096


def shm_size(annotations: Mapping[str, str]) -> int:
    """Bytes of /dev/shm: by the annotation shm-size.crio.io, which must be allowed; else 64 MiB.

    Raises InvalidArgument for a text that is no size.
    """
    text = find(annotations, SHM_SIZE)
    if text is None:
        return DEFAULT_SHM_SIZE
    size = parse_size(text)
    if size is None or size < _LEAST_SHM_SIZE:
        raise InvalidArgument(f"cannot use annotation {SHM_SIZE}: {text[:40]!r} is no size such as 128Mi")
    return size


def resolv_conf(dns: pb.DNSConfig) -> bytes:
    """The text of resolv.conf(5): from the request, or the host's when the request says nothing."""
    if not (dns.servers or dns.searches or dns.options):
        try:
            return read_bounded(HOST_RESOLV_CONF, _RESOLV_LIMIT)
        except FileNotFoundError:
            return b""
    lines = []
    if dns.searches:
        lines.append("search " + " ".join(dns.searches))
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.options:
        lines.append("options " + " ".join(dns.options))
    return "".join(f"{line}\n" for line in lines).encode()


def write_files(
    directory: str, *, dns: pb.DNSConfig, hostname: str, owner: tuple[int, int] = (0, 0), label: str = ""
) -> None:
    """Write the pod's files below `directory`. Raises OSError.

    `owner` is the pod's root as the host knows it, `label` the SELinux label of the pod's files.
    """
    for name, content in (
        ("resolv.conf", resolv_conf(dns)),
        ("hostname", f"{hostname}\n".encode()),
        (".containerenv", b""),
    ):
        path = os.path.join(directory, name)
        write_new(path, content, mode=0o644)
        if owner != (0, 0):
            os.chown(path, *owner)
        if label:
            selinux.set_file_label(path, label)


def make_log_directory(path: str) -> None:
    """Make a directory for logs, with those above it. Raises FailedPrecondition."""
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except OSError as error:
        raise FailedPrecondition(f"cannot make the log directory {path[:200]}: {error.strerror}") from None


def let_in(directories: Sequence[str], group: int) -> None:
    """Let the root of a user namespace, whom the host does not trust, pass to the last of the directories.

    The last one opens for the host's group `group` alone, those above for whoever knows what is in them. Raises
    OSError.
    """
    *above, own = directories
    for directory in above:
        mode = stat.S_IMODE(os.stat(directory).st_mode)
        if not mode & stat.S_IXOTH:
            os.chmod(directory, mode | stat.S_IXGRP | stat.S_IXOTH)
    os.chown(own, -1, group)
    os.chmod(own, 0o710)


def mount_shm(path: str, *, size: int, label: str = "", owner: tuple[int, int] = (0, 0)) -> None:
    """Mount a tmpfs for /dev/shm of the pod. `size` in bytes, `owner` as in `write_files`. Raises OSError."""
    os.mkdir(path, 0o1777)
    options = f"mode=1777,size={size}" + (f',context="{label}"' if label else "")
    if owner != (0, 0):
        options += f",uid={owner[0]},gid={owner[1]}"
    mount.mount("shm", path, "tmpfs", mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC, options)


def unmount_shm(path: str) -> None:
    """Fine if it is not mounted or not there. Raises OSError."""
    try:
        mount.umount(path, mount.MNT_DETACH)
    except (FileNotFoundError, OSError) as error:
        if getattr(error, "errno", None) not in (2, 22):
            raise
