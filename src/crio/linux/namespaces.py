"""Namespaces that live in files: new network, IPC and UTS namespaces pinned by bind mounts, and work inside one.

A thread may leave its process' network, IPC and UTS namespaces (unshare(2), setns(2)); user and PID namespaces need a
process of their own and are pinned by a helper (see conmon/) through `pin_process`. Each job here runs in a fresh
thread that ends with it, so that no thread in a foreign namespace is ever used for anything else.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from crio.base.errors import AlreadyExists, Internal, InvalidArgument, NotFound
from crio.base.files import read_bounded
from crio.base.regex import regex
from crio.linux import mount
from crio.linux.libc import check, libc

CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWNET = 0x40000000

_THREAD_KINDS = {"net": CLONE_NEWNET, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS}
_PROCESS_KINDS = ("net", "ipc", "uts", "user", "pid", "cgroup")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_SYSCTL_DOTTED = regex(r"[a-z0-9_]+(\.[A-Za-z0-9_-]+)+")
_SYSCTL_SLASHED = regex(r"[a-z0-9_]+(/[A-Za-z0-9_.-]+)+")
_SYSCTL_VALUE = regex(r"[A-Za-z0-9 \t._:,/-]{0,1000}")
_SYSCTL_PREFIXES = {"net": ("net/",), "ipc": ("kernel/sem", "kernel/shm", "kernel/msg", "fs/mqueue/"), "uts": ()}

T = TypeVar("T")

libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
libc.unshare.argtypes = [ctypes.c_int]
libc.sethostname.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def pin(paths: Mapping[str, str], *, hostname: str | None = None, sysctls: Mapping[str, str] | None = None) -> None:
    """Create new namespaces of the kinds "net", "ipc" and "uts" and bind each to the file named in `paths`.

    Inside, the loopback interface is up, the host name (with "uts") and the kernel parameters are set; parameters must
    belong to one of the new namespaces, in a strict set of characters (CVE-2022-0811, CVE-2022-0532). All or nothing:
    on failure no file and no mount is left. Takes a few milliseconds, most of it the kernel's for a network namespace.
    Raises InvalidArgument for a wrong kind or parameter, AlreadyExists if a file is there, OSError from the kernel.
    """
    flags = 0
    for kind in paths:
        if kind not in _THREAD_KINDS:
            raise InvalidArgument(f"cannot pin a namespace of kind {kind!r} from a thread: it is not net, ipc or uts")
        flags |= _THREAD_KINDS[kind]
    if hostname is not None and ("uts" not in paths or not 0 < len(hostname) <= 64 or "\0" in hostname):
        raise InvalidArgument(
            f"cannot set host name {hostname[:80]!r}: it needs a UTS namespace and 1 to 64 characters"
        )
    settings = [(sysctl_path(name, value, paths), value) for name, value in (sysctls or {}).items()]
    if "net" in paths:
        share_directory(os.path.dirname(paths["net"]))

    def work() -> None:
        check(libc.unshare(flags))
        if hostname is not None:
            encoded = os.fsencode(hostname)
            check(libc.sethostname(encoded, len(encoded)))
        for path, value in settings:
            write_sysctl(path, value)
        if "net" in paths:
            loopback_up()
        _bind_all("/proc/thread-self/ns/", paths)

    in_fresh_thread(work)


def pin_process(pid: int, paths: Mapping[str, str]) -> None:
    """Bind the namespaces of process `pid` to the files in `paths`, by kind ("user" and "pid" included).

    The caller holds the process (it must not be reaped meanwhile). A PID namespace that is pinned so stays usable
    only as long as its first process lives.
    """
    for kind in paths:
        if kind not in _PROCESS_KINDS:
            raise InvalidArgument(f"cannot pin a namespace of kind {kind!r}: no such kind")
    if "net" in paths:
        share_directory(os.path.dirname(paths["net"]))
    _bind_all(f"/proc/{pid}/ns/", paths)


def unpin(path: str) -> None:
    """Unmount and remove a pinned namespace's file; it is fine if either is gone already.

    Lazily: who still is in the namespace stays in it. Removing the file also ends what was copied of the mount into
    other mount namespaces (Linux 3.18).
    """
    while mount.is_mount_point(path):
        mount.umount(path, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def is_pinned(path: str) -> bool:
    """Whether a namespace is bound at `path`; false for a missing or a plain file, as after a reboot."""
    return mount.is_mount_point(path)


def inode(path: str) -> int:
    """The number by which the kernel tells namespaces apart (what `readlink /proc/PID/ns/KIND` shows)."""
    return os.stat(path).st_ino


def run_in_netns(path: str, function: Callable[[], T]) -> T:
    """Call `function` in a fresh thread inside the network namespace at `path`, and return or raise what it does.

    For short synchronous work: the caller waits. A socket that `function` makes belongs to that namespace for good and
    may be returned. Raises NotFound if no namespace is pinned there.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"cannot enter network namespace {path}: it does not exist") from None
    try:

        def work() -> T:
            try:
                check(libc.setns(fd, CLONE_NEWNET), path)
            except OSError as error:
                raise NotFound(f"cannot enter network namespace {path}: {error.strerror}") from None
            return function()

        return in_fresh_thread(work)
    finally:
        os.close(fd)


def loopback_up() -> None:
    """Bring up `lo` in the calling thread's network namespace; it gets 127.0.0.1 and ::1 from the kernel."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", b"lo", 0)
        _, flags = struct.unpack("16sH22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def sysctl_path(name: str, value: str, kinds: Mapping[str, str] | tuple[str, ...]) -> str:
    """The file below /proc/sys of a kernel parameter that belongs to one of the namespace `kinds`.

    A name with a slash takes slashes as separators and dots as they are (net/ipv4/conf/eth0.100/forwarding). Raises
    InvalidArgument for anything that is not plainly such a name with a plain value.
    """
    slashed = "/" in name
    pattern = _SYSCTL_SLASHED if slashed else _SYSCTL_DOTTED
    if len(name) > 200 or not pattern.fullmatch(name) or any(part in (".", "..") for part in name.split("/")):
        raise InvalidArgument(f"cannot set sysctl {name[:80]!r}: the name has characters that no sysctl has")
    if not _SYSCTL_VALUE.fullmatch(value):
        raise InvalidArgument(f"cannot set sysctl {name}: the value {value[:80]!r} has characters that are not allowed")
    relative = name if slashed else name.replace(".", "/")
    if not any(relative.startswith(_SYSCTL_PREFIXES.get(kind, ())) for kind in kinds):
        raise InvalidArgument(f"cannot set sysctl {name}: it does not belong to a namespace of the pod's own")
    return "/proc/sys/" + relative


_shared: dict[str, int] = {}


def share_directory(directory: str) -> None:
    """Make sure that mounts in `directory` propagate, as `ip netns` does for /run/netns; creates it if need be.

    On a host whose /run is shared (systemd's default) nothing is done. Elsewhere the directory is bound on itself and
    shared: other tools do that when they first make a namespace there, and what was pinned before would get stuck
    below their mount. `unshare_directory` takes it back.
    """
    os.makedirs(directory, 0o755, exist_ok=True)
    real = os.path.realpath(directory)
    if _shared.get(real) == _mount_id(real):
        return
    containing = _mount_id(real)
    for info in mount.mounts():
        if info.mount_id == containing:
            if not any(tag.startswith("shared:") for tag in info.propagation):
                if info.mount_point != real:
                    mount.bind(real, real, recursive=True)
                mount.make_rshared(real)
            break
    _shared[real] = _mount_id(real)


def unshare_directory(directory: str) -> None:
    """Undo `share_directory` if nothing is pinned in the directory any more; the directory stays.

    Only a directory that is bound on itself is unmounted, never a file system that somebody has mounted there.
    """
    real = os.path.realpath(directory)
    _shared.pop(real, None)
    if not mount.is_mount_point(real) or mount.mounts_below(real, include_itself=False):
        return
    holder = _mount_id(real)
    if any(info.mount_id == holder and info.root != "/" for info in mount.mounts()):
        mount.umount(real, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)


def _mount_id(path: str) -> int:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        text = read_bounded(f"/proc/self/fdinfo/{fd}", 1 << 14)
    finally:
        os.close(fd)
    for line in text.splitlines():
        if line.startswith(b"mnt_id:"):
            return int(line[7:])
    raise Internal(f"cannot find the mount that holds {path}: /proc/self/fdinfo has no mnt_id")


def _bind_all(source: str, paths: Mapping[str, str]) -> None:
    done: list[str] = []
    try:
        for kind, path in paths.items():
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
            except FileExistsError:
                raise AlreadyExists(f"cannot pin {kind} namespace at {path}: the file exists") from None
            done.append(path)
            mount.bind(source + kind, path)
    except BaseException:
        for path in done:
            unpin(path)
        raise


def write_sysctl(path: str, value: str) -> None:
    """Set a kernel parameter of the calling thread's namespaces; `path` is of `sysctl_path`. Raises InvalidArgument."""
    name = path.removeprefix("/proc/sys/")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise InvalidArgument(f"cannot set sysctl {name}: this kernel has none") from None
    except OSError as error:
        raise InvalidArgument(f"cannot set sysctl {name} to {value!r}: {error.strerror}") from None


def in_fresh_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread that is never used again, and pass on its result or exception."""
    result: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=target, name="namespace", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
