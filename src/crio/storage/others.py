"""Additional image stores: read-only, made by somebody else, and often on a file system that can go away.

Nothing that is wrong with one may keep the node from its own images: it is then passed over, and looked at again with
the next question.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Generic

from crio.base.errors import CrioError
from crio.storage.indexfile import IndexFile
from crio.storage.locks import LockFile
from crio.storage.records import R
from crio.storage.table import RecordTable, Snapshot

log = logging.getLogger(__name__)


class OtherStore(Generic[R]):
    """One kind of records of one read-only store."""

    def __init__(self, kind: type[R], directory: str, name: str, *, extra: Sequence[str] = (), timeout: float) -> None:
        """`directory` has `NAME.lock` and `NAME.json`, and perhaps the `extra` index files."""
        self.directory = directory
        self._make: Callable[[], RecordTable[R]] = lambda: RecordTable(
            kind,
            [LockFile(os.path.join(directory, f"{name}.lock"), read_only=True, timeout=timeout)],
            [IndexFile(os.path.join(directory, file), syncer=None) for file in (f"{name}.json", *extra)],
        )
        self._table: RecordTable[R] | None = None
        self._complaint = ""

    def snapshot(self) -> Snapshot[R]:
        """Its records; none while it cannot be read, which is logged once."""
        try:
            if self._table is None:
                self._table = self._make()
            snapshot = self._table.snapshot()
        except (OSError, CrioError) as error:
            complaint = str(error)
            if complaint != self._complaint:
                log.warning("the additional image store at %s is passed over: %s", self.directory, complaint)
            self._complaint = complaint
            self.close()
            return Snapshot({}, {}, {})
        self._complaint = ""
        return snapshot

    def close(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None
