"""Seccomp: what the kernel offers, and the calls of the user-notification interface (seccomp_unotify(2))."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os

import msgspec

from crio.linux.libc import libc, syscall

_X32_GETPID = 0x40000000 | 39
_ACTIONS = "/proc/sys/kernel/seccomp/actions_avail"

ARCHITECTURES = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
    "armv7l": "SCMP_ARCH_ARM",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
    "riscv64": "SCMP_ARCH_RISCV64",
    "i686": "SCMP_ARCH_X86",
    "mips64": "SCMP_ARCH_MIPS64",
}
"""The specification's name of the architecture by that of uname(2)."""

SHORT_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "x86",
    "mips64": "mips64",
}
"""The name that seccomp profiles use in their conditions, where it is not that of uname(2)."""


def actions() -> frozenset[str]:
    """The actions of the running kernel ("errno", "user_notif", ...); empty without seccomp filters."""
    try:
        with open(_ACTIONS, "rb") as file:
            return frozenset(file.read(1024).decode("ascii").split())
    except OSError:
        return frozenset()


def absent_architectures() -> frozenset[str]:
    """Secondary architectures, by the specification's names, whose programs the running kernel cannot run.

    A filter need not know them, and is made in half the time without them. An answer is given only where it is sure.
    """
    if os.uname().machine != "x86_64":
        return frozenset()
    absent = set()
    if not os.path.exists("/proc/sys/abi/vsyscall32"):
        absent.add("SCMP_ARCH_X86")
    # Under a filter of its own this process might be killed for the question.
    if not _is_filtered():
        try:
            syscall(_X32_GETPID)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                absent.add("SCMP_ARCH_X32")
    return frozenset(absent)


def _is_filtered() -> bool:
    with open("/proc/self/status", "rb") as file:
        return not any(line.split() == [b"Seccomp:", b"0"] for line in file)


class Notification(msgspec.Struct, frozen=True):
    """A system call that waits for an answer."""

    id: int
    pid: int
    number: int
    """The system call's number, in the numbering of `architecture`."""
    architecture: int
    """An AUDIT_ARCH_* constant."""


class _Data(ctypes.Structure):
    _fields_ = (
        ("nr", ctypes.c_int32),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
    )


class _Request(ctypes.Structure):
    _fields_ = (("id", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("data", _Data))


class _Response(ctypes.Structure):
    _fields_ = (("id", ctypes.c_uint64), ("val", ctypes.c_int64), ("error", ctypes.c_int32), ("flags", ctypes.c_uint32))


def _request_code(number: int, size: int) -> int:
    """Of an ioctl that reads and writes (_IOWR)."""
    return 3 << 30 | size << 16 | ord("!") << 8 | number


_RECEIVE = _request_code(0, ctypes.sizeof(_Request))
_SEND = _request_code(1, ctypes.sizeof(_Response))


def receive_notification(fd: int) -> Notification:
    """The next waiting system call. Raises OSError: ENOENT if its process was killed meanwhile.

    Blocks unless the descriptor has been reported readable.
    """
    # The kernel wants the structure zeroed.
    buffer = bytearray(ctypes.sizeof(_Request))
    fcntl.ioctl(fd, _RECEIVE, buffer)
    request = _Request.from_buffer(buffer)
    return Notification(request.id, request.pid, request.data.nr, request.data.arch)


def answer_with_errno(fd: int, notification_id: int, number: int) -> None:
    """Let the system call fail with errno `number`. Raises OSError: ENOENT if its process is gone."""
    fcntl.ioctl(fd, _SEND, bytes(_Response(notification_id, 0, -number, 0)))


def syscall_name(number: int, architecture: int) -> str:
    """The name of a system call; its number as text where libseccomp does not know it, or is not installed.

    `architecture` is an AUDIT_ARCH_* constant, which are libseccomp's values as well.
    """
    resolve = _resolver()
    if resolve is None:
        return str(number)
    name = resolve(ctypes.c_uint32(architecture), ctypes.c_int(number))
    if not name:
        return str(number)
    try:
        return os.fsdecode(ctypes.string_at(name))
    finally:
        libc.free(ctypes.c_void_p(name))


def _resolver() -> ctypes._NamedFuncPointer | None:
    # lazy: only nodes with notified containers need the library.
    global _resolve
    if _resolve is None:
        try:
            library = ctypes.CDLL("libseccomp.so.2")
        except OSError:
            return None
        _resolve = library.seccomp_syscall_resolve_num_arch
        _resolve.restype = ctypes.c_void_p
    return _resolve


_resolve: ctypes._NamedFuncPointer | None = None
