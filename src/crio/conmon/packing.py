"""Keeps what every monitor writes to on few pages.

A small Python object lies wherever its size class had a free slot, so the functions of one module are spread over the
whole heap, and each page with one of them that is used becomes private memory of each monitor. When all free slots are
taken first, what is loaded next lies side by side.
"""

from __future__ import annotations

_POOL = 16 * 1024
"""CPython's pool: slots of one size class (Objects/obmalloc.c, 3.10 and later)."""
_FIRST_SLOT = 48
_BYTES_OVERHEAD = 33
_MAX_TRIES = 20_000


def take_free_slots() -> list[object]:
    """Small objects that fill the free slots of all size classes; the caller keeps them for ever."""
    taken: list[object] = []
    for size in range(16, 513, 16):
        for _ in range(_MAX_TRIES):
            filler = object() if size == 16 else float(size) if size == 32 else bytes(size - _BYTES_OVERHEAD)
            taken.append(filler)
            if id(filler) % _POOL == _FIRST_SLOT:
                # The first slot of a pool that nobody has used: all the others are full.
                break
    return taken
