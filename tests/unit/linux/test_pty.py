"""Window sizes of real pseudo-terminals."""

from __future__ import annotations

import os

import pytest

from crio.linux.pty import set_window_size


def test_size_is_seen_at_the_other_side() -> None:
    master, slave = os.openpty()
    try:
        set_window_size(master, 24, 132)
        assert os.get_terminal_size(slave) == (132, 24)
        set_window_size(master, 1_000_000, -5)
        assert os.get_terminal_size(slave) == (0, 65535)
    finally:
        os.close(master)
        os.close(slave)


def test_not_a_terminal() -> None:
    fd = os.open("/dev/null", os.O_RDWR)
    try:
        with pytest.raises(OSError, match="ioctl"):
            set_window_size(fd, 1, 1)
    finally:
        os.close(fd)
