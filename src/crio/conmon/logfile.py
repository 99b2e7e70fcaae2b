"""The container's log file: appended to, reopened on request, limited in size, and never in the container's way.

A write that fails (disk full, I/O error) is dropped and counted, and the next one is tried as if nothing had been: the
container never waits for a log. What was dropped and why stands in the exit record and in the monitor's status.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crio.wire.crilog import Buffer

# A FIFO in the log's place must not block, and a symbolic link must not lead elsewhere.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
_MODE = 0o640
_MAX_BUFFERS = 512


def open_log(path: str) -> int:
    """A descriptor to append to the log at `path`, -1 if `path` is empty. OSError."""
    return os.open(path, _FLAGS, _MODE) if path else -1


class LogFile:
    """One CRI log file, or none at all if `path` is empty.

    `size_max` in bytes (0 or less: no limit): a write that would go beyond it starts a new, empty file in the old one's
    place. If the file cannot be opened, everything is dropped until `reopen`. `fd` is what another object has left of
    the same log: its `fileno`, and the bytes that it `dropped`, for the reason `error`.
    """

    def __init__(self, path: str, size_max: int = 0, fd: int = -1, dropped: int = 0, error: str = "") -> None:
        self._path = path
        self._size_max = size_max
        self._fd = fd
        self._size = 0
        self.dropped = dropped
        self.error = error
        self.failing = False
        """Whether the last write was dropped, at least in part."""
        self.failed_at = 0.0
        """When a write was dropped last, by the monotonic clock."""
        try:
            if fd < 0:
                self._fd = open_log(path)
            self._size = os.fstat(self._fd).st_size if path else 0
        except OSError as failure:
            self._failed(failure, 0)

    def fileno(self) -> int:
        """-1 if it is closed, or could not be opened."""
        return self._fd

    def write(self, pieces: list[Buffer]) -> None:
        """Append whole entries."""
        if not self._path or not pieces:
            return
        total = 0
        for piece in pieces:
            total += len(piece)
        if self._fd < 0:
            self._dropped(total)
        elif 0 < self._size_max < self._size + total:
            self._write_limited(b"".join(pieces))
        elif len(pieces) > _MAX_BUFFERS:
            self._append([b"".join(pieces)], total)
        else:
            self._append(pieces, total)

    def reopen(self) -> None:
        """Go on in a file newly opened at the same path. OSError if that fails; then the old file stays in use."""
        if not self._path:
            return
        fd = open_log(self._path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._size = os.fstat(fd).st_size

    def close(self, *, sync: bool) -> None:
        """Close the file, on disk for sure if `sync`."""
        if self._fd < 0:
            return
        try:
            if sync:
                os.fsync(self._fd)
            os.close(self._fd)
        except OSError as error:
            self._failed(error, 0)
        self._fd = -1

    def _append(self, pieces: list[Buffer], total: int) -> None:
        written = 0
        try:
            written = os.writev(self._fd, pieces)
            if written < total:
                rest = memoryview(b"".join(pieces))
                while written < total:
                    written += os.write(self._fd, rest[written:])
            self._size += total
            self.failing = False
        except OSError as error:
            kept = self._cut_off_torn_entry(b"".join(pieces), written) if written else 0
            self._failed(error, total - kept)

    def _cut_off_torn_entry(self, data: bytes, written: int) -> int:
        """A full disk took a part of `data`: keep the whole entries of it, readers cannot parse a half one."""
        kept = data.rfind(b"\n", 0, written) + 1
        try:
            os.ftruncate(self._fd, self._size + kept)
        except OSError:
            return 0
        self._size += kept
        return kept

    def _write_limited(self, data: bytes) -> None:
        """Write entries one by one, and start an empty file where one does not fit any more."""
        start = 0
        while start < len(data):
            room = self._size_max - self._size
            end = data.rfind(b"\n", start, start + max(room, 0)) + 1
            if end <= start:
                if self._size and self._start_over():
                    continue
                end = data.index(b"\n", start) + 1
            self._append([data[start:end]], end - start)
            start = end

    def _start_over(self) -> bool:
        temporary = f"{self._path}.tmp"
        try:
            fd = os.open(temporary, _FLAGS | os.O_TRUNC, _MODE)
            os.rename(temporary, self._path)
        except OSError as error:
            self._failed(error, 0)
            return False
        os.close(self._fd)
        self._fd = fd
        self._size = 0
        return True

    def _failed(self, error: OSError, dropped: int) -> None:
        self.error = error.strerror or str(error)
        if dropped:
            self._dropped(dropped)

    def _dropped(self, size: int) -> None:
        self.dropped += size
        self.failing = True
        self.failed_at = time.monotonic()
