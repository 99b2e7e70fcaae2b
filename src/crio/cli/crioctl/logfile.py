"""Container logs as the runtime writes them: reading, filtering, and following through rotations to the end.

The format is the CRI's: `TIME STREAM TAGS CONTENT`, one entry a line, tag P for a part of a line and F for its end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import BinaryIO, Protocol

from crio.base.errors import InvalidArgument, NotFound

READ_BYTES = 1 << 18
MAX_LINE = 1 << 20
"""A longer line cannot come from a runtime, and is shown in pieces."""
POLL_SECONDS = 0.2
GONE_LOOKS = 3
LOOKS_PER_QUESTION = 5
"""The runtime is asked whether the container still runs at the first quiet look, and then at every fifth."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file. `content` has its line feed unless it is a part of a line."""

    time: str
    stream: str
    content: bytes


@dataclass(slots=True)
class Selection:
    """Which entries are wanted."""

    since: str = ""
    """RFC 3339 in UTC with nine decimals; entries before it are left out."""
    stream: str = ""
    limit_bytes: int = -1
    timestamps: bool = False


def parse(line: bytes) -> Entry | None:
    """The entry of one line with its line feed, None if it is malformed (a crash in the middle of a write)."""
    parts = line.split(b" ", 3)
    if len(parts) < 4 or parts[1] not in (b"stdout", b"stderr"):
        return None
    content = parts[3]
    if parts[2].split(b":", 1)[0] == b"P":
        content = content.removesuffix(b"\n")
    return Entry(parts[0].decode("ascii", "replace"), parts[1].decode(), content)


def sortable_time(text: str) -> str:
    """A log time in UTC in a form that sorts as text: nine decimals and Z. The text itself if it is not a time."""
    from datetime import datetime  # lazy: only with --since

    main, fraction, zone = text, "", "Z"
    if "." in text:
        main, _, tail = text.partition(".")
        digits = len(tail) - len(tail.lstrip("0123456789"))
        fraction, zone = tail[:digits], tail[digits:]
    elif text.endswith("Z"):
        main = text[:-1]
    elif len(text) > 19:
        main, zone = text[:19], text[19:]
    try:
        moment = datetime.fromisoformat(main + (zone or "Z").replace("Z", "+00:00"))
    except ValueError:
        return text
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{fraction[:9]:0<9}Z"


def tail_offset(file: BinaryIO, count: int) -> int:
    """Where the last `count` lines begin. Entries that are parts of one line count as one, as a reader sees it."""
    end = file.seek(0, os.SEEK_END)
    if count <= 0:
        return end
    position, carried, seen = end, b"", -1
    while position > 0:
        size = min(READ_BYTES, position)
        position -= size
        file.seek(position)
        block = file.read(size) + carried
        lines = block.split(b"\n")
        carried = lines[0] if position > 0 else b""
        first = 1 if position > 0 else 0
        offset = position + len(block)
        for index in range(len(lines) - 1, first - 1, -1):
            offset -= len(lines[index])
            if index < len(lines) - 1 or lines[index]:
                seen += _ends_line(lines[index])
                if seen >= count:
                    return offset + len(lines[index]) + 1
            offset -= 1
    return 0


def _ends_line(line: bytes) -> bool:
    parts = line.split(b" ", 3)
    return len(parts) < 3 or parts[2].split(b":", 1)[0] != b"P"


class Sink(Protocol):
    """Where content goes."""

    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> object: ...


class Printer:
    """Writes the entries that are selected to the two streams. `done` once the byte limit is reached."""

    def __init__(self, selection: Selection, stdout: Sink, stderr: Sink) -> None:
        self._selection, self._streams = selection, {"stdout": stdout, "stderr": stderr}
        self._left = selection.limit_bytes
        self._inside_line: dict[str, bool] = {}
        self.done = selection.limit_bytes == 0

    def show(self, line: bytes) -> None:
        entry = parse(line)
        if entry is None or self.done:
            return
        if self._selection.stream and entry.stream != self._selection.stream:
            return
        if self._selection.since and sortable_time(entry.time) < self._selection.since:
            return
        data = entry.content
        if self._selection.timestamps and not self._inside_line.get(entry.stream):
            data = entry.time.encode() + b" " + data
        self._inside_line[entry.stream] = not entry.content.endswith(b"\n")
        if self._left >= 0:
            data = data[: self._left]
            self._left -= len(data)
            self.done = self._left == 0
        self._streams[entry.stream].write(data)

    def flush(self) -> None:
        for stream in self._streams.values():
            stream.flush()


class Reader:
    """Hands out whole lines of one log file, and picks up what is appended later."""

    def __init__(self, path: str) -> None:
        try:
            self._file: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        except FileNotFoundError:
            raise NotFound(f"cannot read the log {path}: no such file") from None
        except OSError as error:
            raise InvalidArgument(f"cannot read the log {path}: {error.strerror}") from None
        self._path, self._rest = path, b""

    def seek_tail(self, count: int) -> None:
        self._file.seek(tail_offset(self._file, count))

    def lines(self) -> Iterator[bytes]:
        """Complete lines up to the present end of the file."""
        while chunk := self._file.read(READ_BYTES):
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            for line in whole:
                yield line + b"\n"
            if len(self._rest) > MAX_LINE:
                yield self._rest
                self._rest = b""

    def replaced(self) -> bool | None:
        """Whether the path now leads to another file or was truncated; None if it leads to none (mid-rotation)."""
        ours = os.fstat(self._file.fileno())
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return None
        if (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino):
            return True
        if now.st_size < self._file.tell():
            self._file.seek(0)
            self._rest = b""
        return False

    def close(self) -> None:
        self._file.close()


def read(path: str, printer: Printer, *, tail: int = -1) -> Reader:
    """Print what the file holds now, and return the reader for `follow`."""
    reader = Reader(path)
    if tail >= 0:
        reader.seek_tail(tail)
    for line in reader.lines():
        printer.show(line)
    printer.flush()
    return reader


async def follow(
    reader: Reader,
    path: str,
    printer: Printer,
    is_running: Callable[[], Awaitable[bool]],
    ticks: Callable[[], AsyncIterator[None]],
) -> None:
    """Print what is appended, through rotations, until the container has ended and all it wrote is shown.

    `ticks` says when to look again; `is_running` is asked only when there was nothing to show.
    """
    gone, looks, idle = False, 0, 0
    try:
        async for _ in ticks():
            shown = False
            for line in reader.lines():
                printer.show(line)
                shown = True
            printer.flush()
            if printer.done:
                return
            replaced = reader.replaced()
            if replaced:
                # What was written to the old file between our last read and the rename.
                for line in reader.lines():
                    printer.show(line)
                reader.close()
                reader = Reader(path)
                continue
            if shown:
                idle = 0
                continue
            if gone:
                return
            looks = looks + 1 if replaced is None else 0
            if looks > GONE_LOOKS:
                return
            idle += 1
            if idle % LOOKS_PER_QUESTION != 1:
                continue
            # One more look after the end: the last lines were written before the runtime said so.
            gone = not await is_running()
    finally:
        reader.close()


async def every(period: float = POLL_SECONDS) -> AsyncIterator[None]:
    """A tick at once and then one each `period` seconds."""
    while True:
        yield
        await asyncio.sleep(period)
