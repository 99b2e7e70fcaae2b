"""What a control group's files tell of its use: the figures, and what both versions read them by."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import msgspec


class Pressure(msgspec.Struct, frozen=True):
    """One line pair of a *.pressure file (PSI, Linux 4.20): averages in percent, totals in microseconds."""

    some_avg10: float
    some_avg60: float
    some_avg300: float
    some_total: int
    full_avg10: float
    full_avg60: float
    full_avg300: float
    full_total: int


class CpuStats(msgspec.Struct, frozen=True):
    """CPU time in nanoseconds since the group was made."""

    usage: int
    user: int
    system: int
    periods: int
    throttled_periods: int
    throttled: int
    pressure: Pressure | None


class MemoryStats(msgspec.Struct, frozen=True):
    """Bytes, except counts of faults and of limit hits. `limit` is None when there is none."""

    usage: int
    working_set: int
    rss: int
    cache: int
    mapped_file: int
    kernel: int
    faults: int
    major_faults: int
    limit: int | None
    max_usage: int
    failures: int
    swap: int | None
    swap_limit: int | None
    pressure: Pressure | None


class Use(msgspec.Struct, frozen=True):
    """What the CRI's statistics tell of a group: CPU time in nanoseconds, memory in bytes. None: not to be had."""

    cpu: int | None = None
    memory: int | None = None
    working_set: int = 0
    rss: int = 0
    faults: int = 0
    major_faults: int = 0
    limit: int | None = None
    swap: int | None = None
    swap_limit: int | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None


class PidsStats(msgspec.Struct, frozen=True):
    """Tasks (threads) in the group; `limit` is None when there is none."""

    current: int
    limit: int | None


class IoDevice(msgspec.Struct, frozen=True):
    """What the group did on one block device, since it was made."""

    major: int
    minor: int
    read_bytes: int
    write_bytes: int
    reads: int
    writes: int


class Figures(ABC):
    """The figures of one group. Its directories are held open until `close`.

    Readers return None, or nothing, when the group or its controller does not exist: a group may vanish at any moment.
    One that is made anew under the same name is another group, and is opened anew.
    """

    @abstractmethod
    def directories(self) -> Sequence[Directory]:
        """Those that are held open."""

    @abstractmethod
    def use(self) -> Use:
        """What is asked for again and again, with as few reads as there can be; without a group, an empty one."""

    @abstractmethod
    def cpu(self) -> CpuStats | None: ...

    @abstractmethod
    def memory(self) -> MemoryStats | None: ...

    @abstractmethod
    def memory_limit(self) -> int | None:
        """The group's own limit in bytes; None without one, and when it is not there."""

    @abstractmethod
    def io(self) -> list[IoDevice]: ...

    @abstractmethod
    def io_pressure(self) -> Pressure | None: ...

    @abstractmethod
    def hugetlb(self) -> dict[str, tuple[int, int]]:
        """Usage and highest usage in bytes by page size ("2MB")."""

    @abstractmethod
    def _pids(self) -> Directory:
        """Where the controller "pids" has its files."""

    def pids(self) -> PidsStats | None:
        current = self._pids().number("pids.current")
        return None if current is None else PidsStats(current, self._pids().number("pids.max"))

    def process_count(self) -> int:
        """As far as the controller "pids" tells; 0 without it."""
        return self._pids().number("pids.current") or 0

    def close(self) -> None:
        for directory in self.directories():
            directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_READ = os.O_RDONLY | os.O_CLOEXEC
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_CHUNK = 16384


class Directory:
    """A group's directory in one hierarchy, held open: the kernel looks up a file in it without its parents.

    An open file of a group would be read faster still, but keeps a page of the kernel's memory.
    """

    __slots__ = ("_fd", "path")

    def __init__(self, path: str | None) -> None:
        """None: of a hierarchy that is not mounted."""
        self.path = path
        self._fd = -1
        if path is not None:
            try:
                self._fd = os.open(path, _DIRECTORY)
            except OSError:
                # Not there, or no file may be opened any more: it has no figures.
                pass

    def read(self, name: str) -> bytes:
        """A file's whole text; b"" when it, or the group, is not there."""
        try:
            fd = os.open(name, _READ, dir_fd=self._fd)
        except OSError:
            return b""
        try:
            data = os.read(fd, _CHUNK)
            if len(data) == _CHUNK:
                while chunk := os.read(fd, _CHUNK):
                    data += chunk
            return data
        except OSError:
            return b""
        finally:
            os.close(fd)

    def number(self, name: str) -> int | None:
        """A file with one number; None for "max" or when it is not there."""
        data = self.read(name)
        return int(data) if data[:1].isdigit() else None

    def pairs(self, name: str) -> dict[str, int] | None:
        """A flat keyed file (memory.stat, cpu.stat) as a mapping."""
        data = self.read(name)
        if not data:
            return None
        fields = data.decode("ascii", "replace").split()
        return dict(zip(fields[::2], map(int, fields[1::2]), strict=False))

    def pressure(self, name: str) -> Pressure | None:
        return parse_pressure(self.read(name))

    def names(self) -> list[str]:
        """The files and groups in it; none when it is not there."""
        try:
            return os.listdir(self.path) if self.path is not None else []
        except OSError:
            return []

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def number_after(data: bytes, key: bytes) -> int:
    """The number behind `key`, which includes the line's end before it and the space; 0 if it is not there."""
    start = data.find(key)
    if start < 0:
        return 0
    start += len(key)
    return int(data[start : data.find(b"\n", start)])


def device_number(text: str) -> tuple[int, int] | None:
    """Of a block device as "8:16"; None for "(unknown)", as the kernel calls those of ZFS and below NVMe multipath."""
    major, _, minor = text.partition(":")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


@lru_cache(maxsize=2048)
def parse_pressure(data: bytes) -> Pressure | None:
    """The text of a *.pressure file; None for none. Kept, since that of a quiet group stays as it is."""
    if not data:
        return None
    lines: dict[bytes, list[float]] = {b"some": [0.0] * 4, b"full": [0.0] * 4}
    for line in data.splitlines():
        kind, *fields = line.split()
        lines[kind] = [float(field.partition(b"=")[2]) for field in fields]
    some, full = lines[b"some"], lines[b"full"]
    return Pressure(some[0], some[1], some[2], int(some[3]), full[0], full[1], full[2], int(full[3]))
