"""This terminal, or whatever stands in its place: raw mode, its size, and the keys that detach."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator

from crio.base.process import wait_readable
from crio.wire.remotecommand import Size

READ_BYTES = 1 << 15
DETACH_KEYS = b"\x10\x11"
"""Ctrl-P Ctrl-Q."""


class DetachKeys:
    """Finds the detach sequence in what is typed. A beginning of it is held back until the next key."""

    def __init__(self, keys: bytes = DETACH_KEYS) -> None:
        self._keys, self._held = keys, 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be sent, and whether the sequence was typed; what follows it is dropped."""
        out = bytearray()
        for octet in data:
            if octet == self._keys[self._held]:
                self._held += 1
                if self._held == len(self._keys):
                    return bytes(out), True
                continue
            out += self._keys[: self._held]
            self._held = 0
            if octet == self._keys[0]:
                self._held = 1
            else:
                out.append(octet)
        return bytes(out), False


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """The terminal hands on every key as it is typed; at the end it is as it was."""
    import termios
    import tty

    before = termios.tcgetattr(fd)
    try:
        # Not TCSAFLUSH, the default: what was typed ahead is for the command.
        tty.setraw(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def size(fd: int) -> Size | None:
    """The terminal's size, None if it has none."""
    try:
        columns, lines = os.get_terminal_size(fd)
    except OSError:
        return None
    return Size(lines, columns) if columns and lines else None


async def chunks(fd: int) -> AsyncIterator[bytes]:
    """What can be read from `fd`, until its end. A regular file is read as fast as it is wanted."""
    while True:
        try:
            await wait_readable(fd)
        except PermissionError:
            pass  # epoll does not take regular files: they never block
        try:
            data = os.read(fd, READ_BYTES)
        except OSError:
            return
        if not data:
            return
        yield data


def is_terminal() -> bool:
    return sys.stdin.isatty()
