"""Containers, as far as the store knows them: a name, an image, a writable layer, and directories of the engine's own.

Where records are written is docs/decisions/003-container-records-that-every-podman-sees.md.
"""

from __future__ import annotations

import os

from crio.storage.deletion import delete_tree
from crio.storage.indexfile import IndexFile, Syncer
from crio.storage.locks import LockFile
from crio.storage.records import ContainerRecord
from crio.storage.table import RecordTable

STABLE, VOLATILE = 0, 1


class ContainerStore:
    def __init__(
        self, directory: str, run_directory: str, *, transient: bool, syncer: Syncer | None, timeout: float
    ) -> None:
        """`directory` is `G/<driver>-containers`, `run_directory` the same below the run directory."""
        index_directory = run_directory if transient else directory
        for place in (directory, run_directory):
            os.makedirs(place, mode=0o700, exist_ok=True)
        self.directories = (directory, run_directory)
        self._volatile_path = os.path.join(index_directory, "volatile-containers.json")
        self._transient = transient
        lock = LockFile(os.path.join(index_directory, "containers.lock"), timeout=timeout)
        files = [
            IndexFile(os.path.join(directory, "containers.json"), syncer=syncer),
            IndexFile(self._volatile_path, syncer=None),
        ]
        self.table: RecordTable[ContainerRecord] = RecordTable(ContainerRecord, [lock], files)

    def close(self) -> None:
        self.table.close()

    def file_for(self, *, volatile: bool) -> int:
        """The index file of a new record: the volatile one only in stores where it is in use already."""
        return VOLATILE if self._transient or (volatile and os.path.exists(self._volatile_path)) else STABLE

    def remove_directories(self, id: str) -> None:
        for place in self.directories:
            path = os.path.join(place, id)
            if os.path.isdir(path):
                delete_tree(path)
