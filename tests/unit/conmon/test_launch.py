"""How a terminal comes from a runtime to its monitor. Runtimes themselves are in test_client and test_serving."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.conmon.launch import CONSOLE_PLACEHOLDER, Console, LaunchFailed
from crio.conmon.loop import Loop


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def console(loop: Loop, tmp_path: Path) -> Iterator[Console]:
    console = Console(loop, str(tmp_path))
    yield console
    console.close()


@pytest.fixture
def runtime(console: Console) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as runtime:
        runtime.connect(console.path)
        yield runtime


def send(runtime: socket.socket) -> int:
    """Send a file in the place of a terminal; its inode."""
    fd = os.memfd_create("console")
    socket.send_fds(runtime, [b"console"], [fd])
    inode = os.fstat(fd).st_ino
    os.close(fd)
    return inode


def is_there(master: int, inode: int) -> bool:
    found = os.fstat(master).st_ino
    os.close(master)
    return found == inode


def test_runtime_connects_long_before_it_sends(loop: Loop, console: Console, runtime: socket.socket) -> None:
    assert loop.turn(60)
    assert not loop.turn(0.05)
    inode = send(runtime)
    assert loop.turn(60)
    assert console.master >= 0
    assert is_there(console.take(), inode)


def test_terminal_that_was_sent_at_the_last_moment(console: Console, runtime: socket.socket) -> None:
    inode = send(runtime)
    runtime.close()
    assert is_there(console.take(), inode)


@pytest.mark.parametrize("turns", [0, 1])
def test_runtime_that_sends_none(loop: Loop, console: Console, runtime: socket.socket, turns: int) -> None:
    for _ in range(turns):
        assert loop.turn(60)
    runtime.send(b"no file")
    with pytest.raises(LaunchFailed, match="has sent no terminal"):
        console.take()


def test_nothing_is_left_in_the_bundle(console: Console, tmp_path: Path) -> None:
    assert console.in_argv(["a", CONSOLE_PLACEHOLDER]) == ["a", console.path]
    console.close()
    console.close()
    assert os.listdir(tmp_path) == []
