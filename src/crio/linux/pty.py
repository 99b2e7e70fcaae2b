"""The window size of pseudo-terminals (tty_ioctl(4))."""

from __future__ import annotations

import fcntl
import struct
import termios

_MAX = 0xFFFF


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Tell the terminal its size; its foreground process group gets SIGWINCH if that changed. Clamped to 65535."""
    size = struct.pack("HHHH", max(0, min(rows, _MAX)), max(0, min(columns, _MAX)), 0, 0)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, size)
