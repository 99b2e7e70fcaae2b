"""The CRI log format: `<RFC 3339 time> <stdout|stderr> <P|F> <bytes>` and a newline per line.

F ends a line of the container, P is a part of one that goes on in the stream's next entry. Sans-I/O: `feed` turns what
one read gave into buffers for one writev(2). All lines of a read carry one time stamp. The standard library's C-coded
`bytes` methods do the work, a call per read and not per line: that is what makes it fast.

Used by the monitor; imports nothing but `time`, because every import is memory in each monitor.
"""

from __future__ import annotations

import time

MAX_LINE = 16 * 1024
"""Bytes of a container's line that one entry holds at most; longer lines are cut into P entries (CRI's own limit)."""

Buffer = bytes | memoryview


class Timestamps:
    """RFC 3339 with nanoseconds and the local offset from UTC; the part that changes once per second is cached."""

    def __init__(self) -> None:
        self._second = -1
        self._date = b""
        self._offset = b""

    def format(self, nanoseconds: int) -> bytes:
        """The time since the epoch as `2026-01-31T23:59:59.000000000+01:00`."""
        second, fraction = divmod(nanoseconds, 1_000_000_000)
        if second != self._second:
            local = time.localtime(second)
            sign, minutes = ("-", -local.tm_gmtoff // 60) if local.tm_gmtoff < 0 else ("+", local.tm_gmtoff // 60)
            self._date = b"%04d-%02d-%02dT%02d:%02d:%02d." % local[:6]
            self._offset = b"%s%02d:%02d" % (sign.encode(), minutes // 60, minutes % 60)
            self._second = second
        return b"%s%09d%s" % (self._date, fraction, self._offset)


class LineFormatter:
    """Formats one output stream of a container. Keeps at most `max_line` bytes between calls."""

    def __init__(self, stream: str, *, max_line: int = MAX_LINE) -> None:
        name = stream.encode()
        self._full = b" %s F " % name
        self._part = b" %s P " % name
        self._max = max_line
        self._open = False
        self.held = b""
        """An unfinished line. The caller calls `flush` if nothing follows at once: a prompt must be seen."""

    @property
    def between_lines(self) -> bool:
        """Whether it is in the state that it was made with."""
        return not self._open and not self.held

    def feed(self, data: bytes, stamp: bytes) -> list[Buffer]:
        """Entries for all complete lines of what was read; an unfinished last one is held for the next call.

        So a line that merely lies across two reads of a busy stream stays one entry.
        """
        if self.held:
            data = self.held + data
            self.held = b""
        full = stamp + self._full
        view = memoryview(data)
        pieces: list[Buffer] = []
        start = position = 0
        end = len(data)
        while end - position > self._max:
            newline = data.rfind(b"\n", position, position + self._max + 1)
            if newline >= 0:
                position = newline + 1
                continue
            if position > start:
                self._whole_lines(pieces, data[start:position], full)
            pieces += (stamp, self._part, view[position : position + self._max], b"\n")
            self._open = True
            position += self._max
            start = position
        rest = data[start:] if start else data
        tail = len(rest) - rest.rfind(b"\n") - 1
        if len(rest) > tail:
            self._whole_lines(pieces, rest, full, tail)
        if tail:
            self.held = rest[-tail:]
        return pieces

    def flush(self, stamp: bytes) -> list[Buffer]:
        """What is held, as a P entry."""
        if not self.held:
            return []
        text, self.held = self.held, b""
        self._open = True
        return [stamp, self._part, text, b"\n"]

    def finish(self, stamp: bytes) -> list[Buffer]:
        """The stream has ended: end its last line, if that is still open."""
        text, self.held = self.held, b""
        if not text and not self._open:
            return []
        self._open = False
        return [stamp, self._full, text, b"\n"]

    def _whole_lines(self, pieces: list[Buffer], data: bytes, full: bytes, tail: int = 0) -> None:
        """Entries for all lines of `data`, of which the last `tail` bytes are an unfinished line that is left out."""
        body = data.replace(b"\n", b"\n" + full)
        pieces += (full, memoryview(body)[: len(body) - len(full) - tail])
        self._open = False
