from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from crio.streaming.inlet import LIMIT, Inlet


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            pass


async def read_all(fd: int) -> bytes:
    """Everything until the writer closes."""
    data = b""
    while True:
        try:
            chunk = os.read(fd, 1 << 16)
        except BlockingIOError:
            await asyncio.sleep(0)
            continue
        if not chunk:
            return data
        data += chunk


async def test_early_bytes_wait_for_the_descriptor(pipe: tuple[int, int]) -> None:
    taken: list[int] = []
    inlet = Inlet(taken.append)
    inlet.feed(b"abc")
    inlet.feed(b"def")
    assert taken == []
    inlet.connect(pipe[1])
    assert os.read(pipe[0], 100) == b"abcdef"
    assert sum(taken) == 6
    inlet.feed(b"ghi")
    assert os.read(pipe[0], 100) == b"ghi"
    assert sum(taken) == inlet.moved == 9


async def test_end_comes_after_the_last_byte(pipe: tuple[int, int]) -> None:
    taken: list[int] = []
    inlet = Inlet(taken.append)
    data = os.urandom(500_000)
    view = bytearray(data)
    inlet.connect(pipe[1], on_end=lambda: os.close(pipe[1]))
    inlet.feed(memoryview(view))
    view[:] = bytes(len(view))  # the caller's buffer is used again
    inlet.end()
    inlet.end()
    assert sum(taken) < len(data)
    assert await read_all(pipe[0]) == data
    assert sum(taken) == len(data)


async def test_end_before_the_descriptor(pipe: tuple[int, int]) -> None:
    inlet = Inlet()
    inlet.feed(b"abc")
    inlet.end()
    inlet.feed(b"late")
    inlet.connect(pipe[1], on_end=lambda: os.close(pipe[1]))
    assert await read_all(pipe[0]) == b"abc"


async def test_full_until_there_is_room(pipe: tuple[int, int]) -> None:
    inlet = Inlet()
    inlet.feed(bytes(LIMIT))
    assert not inlet.full
    inlet.feed(bytes(1))
    assert inlet.full
    waiting = asyncio.create_task(inlet.wait_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    inlet.connect(pipe[1])
    await waiting
    assert not inlet.full
    inlet.disconnect()


async def test_reader_that_is_gone_breaks_it_once_and_the_rest_is_dropped(pipe: tuple[int, int]) -> None:
    taken: list[int] = []
    broken: list[bool] = []
    inlet = Inlet(taken.append)
    inlet.connect(pipe[1], on_broken=lambda: broken.append(True))
    inlet.feed(bytes(200_000))
    os.close(pipe[0])
    while not broken:
        await asyncio.sleep(0)
    inlet.feed(b"more")
    inlet.end()
    assert broken == [True]
    assert sum(taken) == 200_004
    assert not inlet.full


async def test_discard_takes_everything() -> None:
    taken: list[int] = []
    inlet = Inlet(taken.append)
    inlet.feed(bytes(2 * LIMIT))
    inlet.discard()
    inlet.feed(b"abc")
    assert sum(taken) == 2 * LIMIT + 3
    assert not inlet.full


async def test_discarded_input_ends_without_what_waited(pipe: tuple[int, int]) -> None:
    inlet = Inlet()
    inlet.connect(pipe[1], on_end=lambda: os.close(pipe[1]))
    inlet.feed(bytes(500_000))
    inlet.discard()
    assert not asyncio.get_running_loop().remove_writer(pipe[1])
    inlet.end()
    assert len(await read_all(pipe[0])) < 500_000


async def test_disconnect_stops_waiting_for_the_descriptor(pipe: tuple[int, int]) -> None:
    inlet = Inlet()
    inlet.connect(pipe[1], on_end=lambda: pytest.fail("it has not ended"))
    inlet.feed(bytes(200_000))
    inlet.disconnect()
    inlet.end()
    assert not asyncio.get_running_loop().remove_writer(pipe[1])


async def test_packets_are_not_larger_than_an_attach_socket_takes() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        near.setblocking(False)
        inlet = Inlet()
        inlet.connect(near.fileno())
        inlet.feed(bytes(100_000))
        assert len(far.recv(1 << 20)) == 1 << 16
        assert len(far.recv(1 << 20)) == 100_000 - (1 << 16)
        inlet.disconnect()
