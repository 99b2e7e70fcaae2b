from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import Iterator

import pytest

from crio.streaming.outlet import ClientGone, FrameWriter, pump
from crio.streaming.stream import Bytes


class Collected:
    def __init__(self) -> None:
        self.data = bytearray()
        self.largest = 0

    async def send(self, data: memoryview) -> None:
        self.data += data
        self.largest = max(self.largest, len(data))

    async def end(self) -> None:
        raise AssertionError("the pump does not end its outlet")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            pass


async def test_pump_to_the_end_of_a_pipe(pipe: tuple[int, int]) -> None:
    outlet = Collected()
    pumping = asyncio.create_task(pump(pipe[0], outlet))
    data = os.urandom(60_000)
    for position in range(0, len(data), 1000):
        os.write(pipe[1], data[position : position + 1000])
        await asyncio.sleep(0)
    os.close(pipe[1])
    await pumping
    assert outlet.data == data


async def test_reads_grow_with_what_there_is(pipe: tuple[int, int]) -> None:
    outlet = Collected()
    pumping = asyncio.create_task(pump(pipe[0], outlet))
    for _ in range(20):
        os.write(pipe[1], bytes(60_000))
        await asyncio.sleep(0.001)
    os.close(pipe[1])
    await pumping
    assert len(outlet.data) == 20 * 60_000
    assert outlet.largest > 1 << 14


async def test_pump_to_the_hang_up_of_a_terminal() -> None:
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    os.write(slave, b"abc\n")
    os.close(slave)
    outlet = Collected()
    await pump(master, outlet)
    os.close(master)
    assert outlet.data == b"abc\r\n"


async def test_descriptor_held_open_ends_after_the_process(pipe: tuple[int, int]) -> None:
    outlet = Collected()
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    pumping = asyncio.create_task(pump(pipe[0], outlet, ended, grace=0.05))
    await asyncio.sleep(0.1)
    assert not pumping.done()
    os.write(pipe[1], b"last words")
    ended.set_result(0)
    await asyncio.wait_for(pumping, 60)
    assert outlet.data == b"last words"


async def test_lost_client_ends_the_pump(pipe: tuple[int, int]) -> None:
    class Gone(Collected):
        async def send(self, data: memoryview) -> None:
            raise ClientGone("x")

    os.write(pipe[1], b"x")
    with pytest.raises(ClientGone):
        await pump(pipe[0], Gone())


class Recorder:
    """A stream that writes into memory, when it is allowed to."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: OSError | None = None

    async def read_into(self, buffer: memoryview) -> int:
        return 0

    async def write(self, *parts: Bytes) -> None:
        if self.error is not None:
            raise self.error
        await self.gate.wait()
        for part in parts:
            self.written += part

    async def write_end(self) -> None: ...

    def peer_has_left(self) -> bool:
        return False

    def close(self) -> None: ...


async def test_control_frames_stand_before_the_frame_that_follows_them() -> None:
    stream = Recorder()
    control = [b"<control>"]
    writer = FrameWriter(stream, lambda: control.pop() if control else b"")
    stream.gate.clear()
    sends = [asyncio.create_task(writer.send(lambda text=text: (text, b"!"))) for text in (b"one", b"two")]  # type: ignore[misc]
    await asyncio.sleep(0)
    control.append(b"<later>")
    stream.gate.set()
    await asyncio.gather(*sends)
    assert stream.written == b"<control>one!<later>two!"


async def test_posted_control_frames_are_written_by_the_runner() -> None:
    stream = Recorder()
    control = [b"pong"]
    writer = FrameWriter(stream, lambda: control.pop() if control else b"")
    runner = asyncio.create_task(writer.run())
    writer.post()
    while not stream.written:
        await asyncio.sleep(0)
    runner.cancel()
    assert stream.written == b"pong"


async def test_lost_connection_is_a_lost_client() -> None:
    stream = Recorder()
    stream.error = ConnectionResetError("reset")
    with pytest.raises(ClientGone):
        await FrameWriter(stream, bytes).flush()
