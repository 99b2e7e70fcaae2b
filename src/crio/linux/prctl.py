"""prctl(2): what a process may set about itself."""

from __future__ import annotations

import ctypes

from crio.linux.libc import check, libc

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36


def set_child_subreaper() -> None:
    """Make orphaned descendants children of this process instead of init's. Not inherited by fork, kept by exec."""
    check(libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0))


def set_parent_death_signal(number: int) -> None:
    """The signal this process gets when its parent ends; 0 for none. A child does not inherit it."""
    check(libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0))


def set_name(name: str) -> None:
    """The name of this thread in /proc/PID/comm; the kernel keeps 15 bytes of it."""
    check(libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0))
