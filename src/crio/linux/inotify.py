"""inotify(7): what happens in directories, as events to read from a descriptor."""

from __future__ import annotations

import ctypes
import os
import struct

import msgspec

from crio.linux.libc import check, libc

IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x01000000

_EVENT = struct.Struct("=iIII")
_READ = 1 << 16


class Event(msgspec.Struct, frozen=True):
    """`name` is the entry of a watched directory, or empty for the directory itself."""

    watch: int
    mask: int
    name: str


class Inotify:
    """An inotify instance; `fileno` becomes readable when there are events. To be closed."""

    def __init__(self) -> None:
        self._fd = check(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        return self._fd

    def add(self, path: str, mask: int) -> int:
        """Watch a path; the number by which its events name it. OSError as inotify_add_watch(2)."""
        return check(libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask)), path)

    def remove(self, watch: int) -> None:
        """End a watch; fine if the kernel ended it."""
        libc.inotify_rm_watch(self._fd, watch)

    def read(self) -> list[Event]:
        """The events that are there now."""
        found: list[Event] = []
        while True:
            try:
                data = os.read(self._fd, _READ)
            except BlockingIOError:
                return found
            offset = 0
            while offset + _EVENT.size <= len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                name = data[offset : offset + length].split(b"\0", 1)[0]
                found.append(Event(watch, mask, os.fsdecode(name)))
                offset += length

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
