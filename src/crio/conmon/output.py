"""The container's output: read once, given to the log, the journal and the attach clients."""

from __future__ import annotations

import fcntl
import os
import time

from crio.conmon.attach import STDERR, STDOUT
from crio.wire.crilog import LineFormatter, Timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crio.conmon.attach import AttachServer
    from crio.conmon.journal import Journal
    from crio.conmon.logfile import LogFile
    from crio.conmon.loop import Loop

READ_SIZE = 64 * 1024
"""Bytes per read: what a pipe holds by default."""

_NAMES = {STDOUT: "stdout", STDERR: "stderr"}


class OutputStream:
    """One stream of the container. Owns `fd`, which the loop has: a pipe's read end, or a terminal's master side."""

    def __init__(
        self,
        loop: Loop,
        fd: int,
        kind: int,
        log: LogFile,
        stamps: Timestamps,
        journal: Journal | None,
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self.kind = kind
        self._log = log
        self._stamps = stamps
        self.attach: AttachServer | None = None
        self._journal = journal
        self._formatter = LineFormatter(_NAMES[kind])
        self._fresh = False
        self.bytes_read = 0
        loop.handle(fd, self._readable)

    def fileno(self) -> int:
        """-1 if it is closed."""
        return self._fd

    @property
    def holds(self) -> bool:
        """An unfinished line waits for its rest: `settle` must be called soon."""
        return bool(self._formatter.held)

    @property
    def between_lines(self) -> bool:
        """Whether another object could go on with the descriptor from here."""
        return self._formatter.between_lines

    def settle(self) -> None:
        """After each turn of the loop: log an unfinished line if nothing followed it in this turn."""
        if self._formatter.held and not self._fresh:
            self._log.write(self._formatter.flush(self._now()))
        self._fresh = False

    def drain(self) -> None:
        """The container is gone: take what it had written, and close.

        No more is read than a pipe can hold, because other processes may still write into it.
        """
        if self._fd < 0:
            return
        try:
            left = max(fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ), READ_SIZE)
        except OSError:
            left = READ_SIZE
        while left > 0 and self._fd >= 0:
            before = self.bytes_read
            self._readable(0)
            if self.bytes_read == before:
                break
            left -= self.bytes_read - before
        self._close()

    def _readable(self, _events: int) -> None:
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            # A terminal's master side answers EIO when nobody has its other side open any more.
            data = b""
        if not data:
            self._close()
            return
        self._fresh = True
        self.bytes_read += len(data)
        self._log.write(self._formatter.feed(data, self._now()))
        if self.attach is not None and self.attach.count:
            self.attach.broadcast(self.kind, data)
        if self._journal is not None:
            self._journal.write(_NAMES[self.kind], data)

    def _now(self) -> bytes:
        return self._stamps.format(time.time_ns())

    def _close(self) -> None:
        if self._fd >= 0:
            self._log.write(self._formatter.finish(self._now()))
            self._loop.remove(self._fd)
            os.close(self._fd)
            self._fd = -1
