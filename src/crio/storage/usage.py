"""How much a directory tree takes on its file system."""

from __future__ import annotations

import os
import time

import msgspec

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 512
_PAUSE_AFTER = 512


class Usage(msgspec.Struct, frozen=True):
    bytes: int
    inodes: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.bytes + other.bytes, self.inodes + other.inodes)


def measure(path: str, *, max_entries: int = 10_000_000) -> Usage:
    """Allocated bytes and inodes of everything below `path`, itself included; a file with several names counts once.

    Takes about 2 microseconds a file and lets other threads run every 512 of them: call it in an executor. Stops
    after `max_entries`, and does not look below 512 levels. Files that come and go meanwhile are no error; a missing
    `path` is OSError.
    """
    total_blocks = inodes = entries_seen = 0
    seen: set[tuple[int, int]] = set()
    root = os.open(path, _DIRECTORY)
    stack: list[tuple[int, list[str]]] = []
    try:
        status = os.fstat(root)
        stack.append((root, []))
        total_blocks += status.st_blocks
        inodes += 1
        current = root
        while True:
            directories = stack[-1][1]
            with os.scandir(current) as entries:
                for entry in entries:
                    entries_seen += 1
                    if entries_seen % _PAUSE_AFTER == 0:
                        time.sleep(0.0002)
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
                    elif status.st_nlink > 1:
                        key = (status.st_dev, status.st_ino)
                        if key in seen:
                            continue
                        seen.add(key)
                    total_blocks += status.st_blocks
                    inodes += 1
            while stack and (not stack[-1][1] or entries_seen > max_entries):
                os.close(stack.pop()[0])
            if not stack:
                return Usage(total_blocks * 512, inodes)
            following = _next(stack)
            if following < 0:
                return Usage(total_blocks * 512, inodes)
            current = following
    finally:
        while stack:
            os.close(stack.pop()[0])


def _next(stack: list[tuple[int, list[str]]]) -> int:
    """Open the next directory to look into, or -1."""
    while stack:
        fd, directories = stack[-1]
        if not directories:
            os.close(stack.pop()[0])
            continue
        name = directories.pop()
        if len(stack) >= _MAX_DEPTH:
            continue
        try:
            child = os.open(name, _DIRECTORY, dir_fd=fd)
        except (FileNotFoundError, NotADirectoryError):
            continue
        stack.append((child, []))
        return child
    return -1
