"""Log lines for systemd's journal, by its own datagram protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

from __future__ import annotations

import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SOCKET_PATH = "/run/systemd/journal/socket"
_MAX_MESSAGE = 16 * 1024
_PATIENCE_US = 100_000
_PRIORITY = {"stdout": b"6", "stderr": b"3"}


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name + b"=" + value + b"\n"


class Journal:
    """Sends each line of a container as one entry with the fields that conmon gives it.

    A journal that takes nothing for a tenth of a second, or is not there, loses the rest of what was read at once; the
    container does not wait for it. `dropped` counts the lost bytes.
    """

    def __init__(self, container_id: str, name: str, tag: str, labels: Sequence[str], path: str = SOCKET_PATH) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        identifier = (tag or container_id[:12]).encode()
        common = _field(b"SYSLOG_IDENTIFIER", identifier)
        common += _field(b"CONTAINER_ID", container_id[:12].encode())
        common += _field(b"CONTAINER_ID_FULL", container_id.encode())
        common += _field(b"CONTAINER_NAME", name.encode())
        if tag:
            common += _field(b"CONTAINER_TAG", tag.encode())
        for label in labels:
            key, _, value = label.partition("=")
            common += _field(key.encode(), value.encode())
        self._common = common
        self._open_line = {"stdout": False, "stderr": False}
        self.dropped = 0

    def write(self, stream: str, data: bytes) -> None:
        """Send the lines of `data`; an unfinished one is marked as partial message."""
        start = 0
        while start < len(data):
            newline = data.find(b"\n", start, start + _MAX_MESSAGE)
            end = newline if newline >= 0 else min(len(data), start + _MAX_MESSAGE)
            if (end > start or not self._open_line[stream]) and not self._send(stream, data[start:end], newline < 0):
                self.dropped += len(data) - start
                return
            self._open_line[stream] = newline < 0
            start = end + (newline >= 0)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, stream: str, line: bytes, partial: bool) -> bool:
        entry = self._common + b"PRIORITY=" + _PRIORITY[stream] + b"\n" + _field(b"MESSAGE", line)
        if partial:
            entry += b"CONTAINER_PARTIAL_MESSAGE=true\n"
        for _ in range(2):
            try:
                self._connected().send(entry)
                return True
            except BlockingIOError:
                return False
            except OSError:
                self.close()
        return False

    def _connected(self) -> socket.socket:
        if self._socket is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # A kernel time limit, not settimeout(): that would make the socket non-blocking and need a poll per send.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, _PATIENCE_US))
            try:
                sock.connect(self._path)
            except OSError:
                sock.close()
                raise
            self._socket = sock
        return self._socket
