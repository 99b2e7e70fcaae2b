"""The container's stdin, as the monitor writes it."""

from __future__ import annotations

import os

from crio.conmon.loop import WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crio.conmon.loop import Loop


class ContainerInput:
    """The container's stdin: a pipe, or a descriptor of its terminal. Writes what fits and keeps the rest."""

    def __init__(self, loop: Loop, fd: int) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._rest = b""
        self._close_when_empty = False
        self.blocked = False
        """The container does not read: take no more from clients until `on_unblocked` is called."""
        self.on_unblocked = _nothing

    def fileno(self) -> int:
        """-1 if it is closed."""
        return self._fd

    @property
    def is_open(self) -> bool:
        return self._fd >= 0 and not self._close_when_empty

    def write(self, data: bytes) -> None:
        """Give bytes to the container. They are dropped if it has closed its stdin."""
        if not self.is_open:
            return
        self._rest += data
        self._flush()

    def close(self) -> None:
        """End the container's stdin after what was written."""
        self._close_when_empty = True
        self._flush()

    def _flush(self) -> None:
        if self._fd < 0:
            return
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            if not self.blocked:
                self.blocked = True
                self._loop.add(self._fd, WRITE, self._writable)
            return
        except OSError:
            self._rest = b""
            self._close_when_empty = True
        if self.blocked:
            self.blocked = False
            self._loop.remove(self._fd)
        if self._close_when_empty:
            os.close(self._fd)
            self._fd = -1

    def _writable(self, _events: int) -> None:
        self._flush()
        if not self.blocked:
            self.on_unblocked()


def _nothing() -> None:
    pass
