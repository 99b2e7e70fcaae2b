"""Directories on their way out: moved aside at once, under the lock, and deleted when nobody waits for it.

What a process that died had moved aside is deleted by the next one (`tempdirs.py`).
"""

from __future__ import annotations

import logging
import os
import queue
import threading

from crio.storage.deletion import delete_tree
from crio.storage.tempdirs import TempDir

log = logging.getLogger(__name__)

INLINE_ENTRIES = 256
"""Files that the caller deletes itself; a container's few files are gone sooner than a thread has started."""


class Trash:
    """The trash of one store. `discard` while the lock is held, `empty` after."""

    def __init__(self) -> None:
        self._bins: dict[str, TempDir] = {}
        self._waiting: list[str] = []
        self._mutex = threading.Lock()
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def bin(self, home: str) -> TempDir:
        """This process's staging directory in the driver directory `home`."""
        with self._mutex:
            if home not in self._bins:
                self._bins[home] = TempDir(os.path.join(home, "tempdirs"))
            return self._bins[home]

    def discard(self, path: str, home: str) -> None:
        """Move `path`, which lies in the driver directory `home`, out of everybody's sight."""
        aside = self.bin(home).new_path(os.path.basename(path)[:64])
        os.rename(path, aside)
        with self._mutex:
            self._waiting.append(aside)

    def empty(self) -> None:
        """Delete what was discarded: small trees now, large ones by a background thread."""
        with self._mutex:
            waiting, self._waiting = self._waiting, []
        for path in waiting:
            if not delete_tree(path, limit=INLINE_ENTRIES):
                self._in_background(path)

    def close(self) -> None:
        """Wait until everything is deleted, and remove the staging directories."""
        self.empty()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        for bin in self._bins.values():
            bin.close()
        self._bins.clear()

    def _in_background(self, path: str) -> None:
        with self._mutex:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="storage trash", daemon=True)
                self._thread.start()
        self._queue.put(path)

    def _run(self) -> None:
        while (path := self._queue.get()) is not None:
            delete_tree(path)
