"""Getting the kernel ready, ahead of time, for a process to be moved into a group.

The first move after a quiet moment waits for a grace period of RCU, 5 to 20 ms, because a move excludes all forks and
exits of the machine (cgroup_threadgroup_rwsem, a percpu_rw_semaphore); moves that follow within another such period
wait for nothing. Every OCI runtime makes one for each container and each command. So when one is about to come, this
makes one that changes nothing, in a thread, while there is other work to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)

_STAYS_READY = 0.003
"""Seconds; no grace period is shorter."""


class MoveAhead:
    """Makes `move`, a move of a process to where it is, at most once at a time. For use from one thread."""

    def __init__(self, move: Callable[[], None]) -> None:
        self._move = move
        self._thread: ThreadPoolExecutor | None = None
        self._busy = False
        self._ready_until = 0.0

    def begin(self) -> None:
        """Begin, unless one is under way or was made a moment ago. Returns at once."""
        if self._busy or time.monotonic() < self._ready_until:
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="move ahead")
        self._busy = True
        self._thread.submit(self._work)

    def _work(self) -> None:
        try:
            self._move()
        except OSError as error:
            # Whether it comes to a move or not: the kernel got ready before it looked.
            log.debug("no move of a process ahead: %s", error)
        finally:
            self._ready_until = time.monotonic() + _STAYS_READY
            self._busy = False
