"""How often each layer is mounted: `mountpoints.json` in the run directory, shared with every other tool.

Its lock is the innermost of the store: nothing else is taken while it is held.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import msgspec

from crio.base.errors import ResourceExhausted
from crio.base.files import read_bounded
from crio.base.jsontext import UNREADABLE
from crio.storage.indexfile import IndexFile
from crio.storage.locks import LockFile
from crio.storage.records import MountRecord

log = logging.getLogger(__name__)

_MAX = 16 << 20


class MountTable:
    """Counts by layer id. A reboot empties it together with the mounts."""

    def __init__(self, directory: str, *, timeout: float) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.directory = directory
        self._path = os.path.join(directory, "mountpoints.json")
        self._file = IndexFile(self._path, syncer=None)
        self._lock = LockFile(os.path.join(directory, "mountpoints.lock"), timeout=timeout)
        self._token: bytes | None = None
        self._mounts: dict[str, MountRecord] = {}

    def close(self) -> None:
        self._lock.close()

    def read(self) -> dict[str, MountRecord]:
        """The mounted layers; not to be changed."""
        if self._token != self._lock.token():
            with self._lock.read():
                self._load()
        return self._mounts

    @contextlib.contextmanager
    def writing(self) -> Iterator[dict[str, MountRecord]]:
        """Hold the lock alone, with a copy to change; it is saved at the end if it differs, also after an error:
        what was mounted or unmounted until then has happened.
        """
        with self._lock.write():
            self._load()
            mounts = dict(self._mounts)
            try:
                yield mounts
            finally:
                if mounts != self._mounts:
                    self._token = self._lock.touch()
                    self._file.write(msgspec.json.encode(list(mounts.values())), lasting=False)
                    self._mounts = mounts

    def _load(self) -> None:
        token = self._lock.token()
        if token == self._token:
            return
        try:
            data = read_bounded(self._path, _MAX)
            rows = msgspec.json.decode(data, type=list[MountRecord]) if data else []
        except FileNotFoundError:
            rows = []
        except (ResourceExhausted, *UNREADABLE) as error:
            # The mount table of the kernel is the truth; a wrong count only keeps a layer mounted for longer.
            log.warning("%s is damaged and taken for empty: %s", self._path, error)
            rows = []
        self._mounts = {row.id: row for row in rows if row.count > 0 and row.path}
        self._token = token
