"""clone3(2) as a monitor and its zygote need it: a process made by one call, without the work of Python around fork(2).

`os.fork` lets the C library and the interpreter put their locks in order on both sides. A program with one thread has
nothing to put in order, and every page that is touched for it is memory of the new process. The functions here are for
such programs only. They keep the interpreter's lock while they wait, and write nothing but what they are given.
"""

from __future__ import annotations

import ctypes
import signal

CLONE_FILES = 0x400
CLONE_PIDFD = 0x1000
CLONE_CHILD_SETTID = 0x0100_0000

_SYS_CLONE3 = 435
"""The same number on all architectures; Linux 5.3."""


class _CloneArguments(ctypes.Structure):
    """struct clone_args of linux/sched.h, as it was at first."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    )


# Not through CDLL: that would let go of the interpreter's lock and take it again.
libc = ctypes.PyDLL(None)
_clone3 = libc["syscall"]
_clone3.argtypes = (ctypes.c_long, ctypes.c_void_p, ctypes.c_size_t)
_clone3.restype = ctypes.c_long
_SIZE = ctypes.sizeof(_CloneArguments)


class Clone:
    """A prepared clone3(2). In the child `own_pid` is its pid with CLONE_CHILD_SETTID.

    In the parent `pidfd[0]` is a pidfd of the last child with CLONE_PIDFD; `pidfd` is an array of ints of the caller's.
    """

    __slots__ = ("_arguments", "_number", "_reference", "_size", "own_pid", "pidfd")

    def __init__(self, flags: int, pidfd: ctypes.Array[ctypes.c_int] | None = None) -> None:
        self.own_pid = ctypes.c_int()
        self.pidfd = pidfd
        self._arguments = arguments = _CloneArguments()
        arguments.flags = flags
        arguments.exit_signal = int(signal.SIGCHLD)
        if flags & CLONE_CHILD_SETTID:
            arguments.child_tid = ctypes.addressof(self.own_pid)
        if pidfd is not None:
            arguments.pidfd = ctypes.addressof(pidfd)
        self._reference = ctypes.addressof(arguments)
        self._number = _SYS_CLONE3
        self._size = _SIZE

    def __call__(self) -> int:
        """The child's pid in the parent, 0 in the child, -1 if there can be none now."""
        return int(_clone3(self._number, self._reference, self._size))
