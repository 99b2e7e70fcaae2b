"""One index file on disk, written so that no moment of a power cut costs a record that should last.

A lasting change is on the disk before the file takes its name, and the name before the call ends. A change that ends
with the uptime (a pod's container came or went) does not wait for the disk; but it rewrites a file in which images'
records lie too, and some file systems may show a new name before the data behind it. So the last file that is known to
be on the disk stays under a second name, `load` falls back on it, and a thread brings the new file onto the disk within
milliseconds. docs/decisions/003-container-records-that-every-podman-sees.md tells why.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading

import msgspec

from crio.base.errors import DataLoss
from crio.base.failpoints import failpoint
from crio.base.files import TEMPORARY, is_full, read_bounded, sync_directory
from crio.linux.sync import sync_file
from crio.storage.records import decode_list

log = logging.getLogger(__name__)

MAX_INDEX = 256 << 20
"""Bytes of one index file: some hundred thousand records."""
SAVED = ".crio-saved"
"""Suffix of the second name."""
SPARE = ".crio-spare"
"""Suffix of a file that only takes up room: on a full file system the next write has it, so that one can remove."""
_LEAST_SPARE = 16 << 10


class Syncer:
    """Brings files onto the disk behind the caller's back."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._mutex = threading.Lock()

    def later(self, path: str) -> None:
        with self._mutex:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="storage sync", daemon=True)
                self._thread.start()
        self._queue.put(path)

    def close(self) -> None:
        """Wait until everything that was asked for is on the disk."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (path := self._queue.get()) is not None:
            try:
                sync_file(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("cannot bring %s onto the disk: %s", path, error)


class IndexFile:
    """One JSON file of records. Loaded and written with its table's lock held."""

    __slots__ = ("_syncer", "_unsynced", "path", "recovered")

    def __init__(self, path: str, *, syncer: Syncer | None) -> None:
        """`syncer` is None for files of which nothing lasts."""
        self.path = path
        self.recovered = False
        """Whether `load` had to fall back on the second name, so that the file should be written again."""
        self._syncer = syncer
        self._unsynced = (0, 0)

    def stamp(self) -> tuple[int, int]:
        """Changes when somebody has replaced the file."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)

    def load(self) -> list[msgspec.Raw]:
        """The raw records, none if there is no file. Raises DataLoss if it is damaged and has no second name."""
        try:
            data = read_bounded(self.path, MAX_INDEX)
        except FileNotFoundError:
            return []
        saved = self.path + SAVED
        try:
            if data or not os.path.exists(saved):
                return decode_list(data, self.path)
            reason = "it is empty"
        except DataLoss as error:
            if self._syncer is None:
                # Written without a sync for records that end with the uptime: after a power cut none is left anyway.
                log.warning("%s, and is taken for empty", error)
                return []
            if not os.path.exists(saved):
                raise
            reason = str(error)
        log.warning("%s was lost in a crash (%s); its last state on disk is used", self.path, reason)
        self.recovered = True
        return decode_list(read_bounded(saved, MAX_INDEX), saved)

    def write(self, data: bytes, *, lasting: bool) -> None:
        """Replace the file. A crash leaves the old or the new one; if `lasting`, a power cut after it leaves the new.

        The folder is synced as well: btrfs may show a later rename of another file without this one.
        """
        if self._syncer is not None and not lasting:
            self._save()
        sync = lasting and self._syncer is not None
        directory, name = os.path.split(self.path)
        temporary = os.path.join(directory, f"{TEMPORARY}{name}{os.urandom(5).hex()}")
        try:
            try:
                _fill(temporary, data, sync=sync)
            except OSError as error:
                if not is_full(error) or not self._take_spare(temporary):
                    raise
                _fill(temporary, data, sync=sync)
            failpoint("storage.index.before_rename")
            os.rename(temporary, self.path)
            if sync:
                sync_directory(directory)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        failpoint("storage.index.after_rename")
        self._keep_spare(len(data))
        self.recovered = False
        if self._syncer is not None and not lasting:
            self._unsynced = self.stamp()
            self._syncer.later(self.path)

    def _take_spare(self, temporary: str) -> bool:
        try:
            os.rename(self.path + SPARE, temporary)
        except FileNotFoundError:
            return False
        return True

    def _keep_spare(self, size: int) -> None:
        """Have room for another write of as much. What the last one has freed is enough, where there is no other."""
        spare = self.path + SPARE
        try:
            if os.stat(spare).st_size >= size:
                return
        except FileNotFoundError:
            pass
        fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for wanted in (max(2 * size, _LEAST_SPARE), size):
                with contextlib.suppress(OSError):
                    os.posix_fallocate(fd, 0, wanted)
                    return
        finally:
            os.close(fd)

    def _save(self) -> None:
        """Give the present file its second name, unless it is one that this object has not synced itself."""
        stamp = self.stamp()
        if stamp == self._unsynced != (0, 0) or self.recovered:
            return
        saved = self.path + SAVED
        try:
            if os.stat(saved).st_ino == stamp[1]:
                return
            os.unlink(saved)
        except FileNotFoundError:
            pass
        if stamp == (0, 0):
            # No file yet: the last state on disk is that there are no records.
            os.close(os.open(saved, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        else:
            os.link(self.path, saved)


def _fill(path: str, data: bytes, *, sync: bool) -> None:
    """Give a file this content, in the room that it has if it is there."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.ftruncate(fd, len(data))
        if sync:
            os.fdatasync(fd)
    finally:
        os.close(fd)
