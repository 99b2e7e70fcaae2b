"""User namespaces that nobody lives in yet: for their maps of ids, as for id-mapped mounts, or to be pinned for a pod.

A thread cannot unshare its user namespace, so a process is needed for a moment. It runs no Python and no copy of the
daemon: it shares the memory as after vfork(2) and sleeps in pause(2) until its namespace is held by a descriptor.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator, Sequence

from crio.base.errors import InvalidArgument
from crio.linux.libc import check, libc

_CLONE_VM, _CLONE_NEWUSER = 0x100, 0x10000000
_WALL = 0x40000000
_STACK = 64 << 10
_IDS = 0xFFFFFFFF
MAX_MAP_LINES = 340
"""Lines of one map (user_namespaces(7))."""

libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]


def open_user_namespace(uids: Sequence[tuple[int, int, int]], gids: Sequence[tuple[int, int, int]]) -> int:
    """A descriptor of a new user namespace with these maps, each of (id inside, id here, how many); the caller closes.

    Takes less than a millisecond. Raises as `held_namespaces`.
    """
    with held_namespaces(uids, gids) as pid:
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def held_namespaces(
    uids: Sequence[tuple[int, int, int]], gids: Sequence[tuple[int, int, int]], kinds: int = 0
) -> Iterator[int]:
    """The pid of a process in a new user namespace with these maps, and in new ones of `kinds` that it owns.

    `kinds` are flags of clone(2). What is not pinned or opened goes when the context ends. Raises InvalidArgument for
    maps that the kernel refuses (they overlap, are empty or too many), OSError if there can be no user namespaces
    (`user.max_user_namespaces`).
    """
    for kind, lines in (("user", uids), ("group", gids)):
        if not 0 < len(lines) <= MAX_MAP_LINES:
            raise InvalidArgument(f"cannot map {kind} ids: {len(lines)} ranges; 1 to {MAX_MAP_LINES} are possible")
        # The kernel cuts numbers to 32 bits, and so would take 4294967296 for root.
        if any(number < 0 or number + size > _IDS for inside, here, size in lines for number in (inside, here)):
            raise InvalidArgument(f"cannot map {kind} ids: a range leaves 0 to {_IDS - 1}")
    stack = ctypes.create_string_buffer(_STACK)
    # pause(2) must not be woken by a signal: its handler, in shared memory, is this process's.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pause = ctypes.cast(libc.pause, ctypes.c_void_p)
        top = (ctypes.addressof(stack) + _STACK) & ~0xF
        pid = check(libc.clone(pause, top, _CLONE_VM | _CLONE_NEWUSER | kinds, None))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        _write_map(f"/proc/{pid}/uid_map", "user", uids)
        _write_map(f"/proc/{pid}/gid_map", "group", gids)
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, _WALL)


def _write_map(path: str, kind: str, lines: Sequence[tuple[int, int, int]]) -> None:
    text = "".join(f"{inside} {here} {size}\n" for inside, here, size in lines)
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise InvalidArgument(f"cannot map {kind} ids {text.strip()!r}: {error.strerror}") from None
    finally:
        os.close(fd)
