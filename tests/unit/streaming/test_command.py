"""Exec and attach without a protocol between: outlets in memory, descriptors of the test."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from crio.base.errors import NotFound
from crio.streaming.command import CommandStreams, serve_command
from crio.streaming.inlet import Inlet
from crio.streaming.outlet import ClientGone
from crio.streaming.requests import CommandRequest
from crio.wire.remotecommand import Outcome, Size, decode_outcome


class Memory:
    def __init__(self, log: list[tuple[str, bytes]], name: str) -> None:
        self.log, self.name = log, name
        self.gone = False

    async def send(self, data: memoryview) -> None:
        if self.gone:
            raise ClientGone("gone")
        self.log.append((self.name, bytes(data)))

    async def end(self) -> None:
        self.log.append((self.name, b"<end>"))


class FakeProcess:
    def __init__(self, stdin: int, stdout: int, stderr: int = -1, *, code: int | None = 0) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.code = code
        self.closed = False
        self.awaited = asyncio.Event()

    async def resize(self, size: Size) -> None: ...

    async def wait(self) -> int:
        self.awaited.set()
        if self.code is None:
            await asyncio.get_running_loop().create_future()
        return self.code or 0

    async def close(self) -> None:
        self.closed = True


class Backend:
    """An executor and an attacher that give what the test made."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    async def exec(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.thing, Exception):
            raise self.thing
        return self.thing

    attach = exec


def streams(log: list[tuple[str, bytes]]) -> CommandStreams:
    return CommandStreams(4, Memory(log, "error"), Inlet(), Memory(log, "out"), Memory(log, "err"))


EXEC = CommandRequest("c", ("x",), False, True, True, True)
ATTACH = CommandRequest("c", (), False, True, True, True)


async def serve(request: CommandRequest, client: CommandStreams, thing: Any) -> None:
    await asyncio.wait_for(serve_command(request, client, Backend(thing), Backend(thing)), 60)


async def test_status_comes_after_all_output_and_descriptors_are_closed() -> None:
    log: list[tuple[str, bytes]] = []
    client = streams(log)
    (stdin_read, stdin), (stdout, out), (stderr, err) = os.pipe(), os.pipe(), os.pipe()
    os.write(out, b"output")
    os.write(err, b"errors")
    os.close(out)
    os.close(err)
    process = FakeProcess(stdin, stdout, stderr, code=3)
    assert client.stdin is not None
    client.stdin.feed(b"input")
    await serve(EXEC, client, process)
    assert set(log[:2]) == {("out", b"output"), ("err", b"errors")}
    assert log[2:4] == [("out", b"<end>"), ("err", b"<end>")]
    assert decode_outcome(log[4][1]) == Outcome(3, "command terminated with non-zero exit code: exit status 3")
    assert log[5] == ("error", b"<end>")
    assert process.closed
    assert os.read(stdin_read, 100) == b"input"
    os.close(stdin_read)
    for fd in (stdin, stdout, stderr):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


async def test_one_descriptor_for_both_directions_is_closed_once() -> None:
    near, far = socket.socketpair()
    fd = near.detach()
    far.send(b"x")
    far.shutdown(socket.SHUT_WR)
    log: list[tuple[str, bytes]] = []
    await serve(CommandRequest("c", ("x",), True, True, True, False), streams(log), FakeProcess(fd, fd))
    assert log[0] == ("out", b"x")
    assert far.recv(1) == b""
    far.close()


async def test_lost_client_closes_the_process() -> None:
    stdout, out = os.pipe()
    os.write(out, b"x")
    client = streams([])
    assert isinstance(client.stdout, Memory)
    client.stdout.gone = True
    process = FakeProcess(-1, stdout, code=None)
    with pytest.raises(ClientGone):
        await serve(EXEC, client, process)
    assert process.closed
    os.close(out)


async def test_cancelled_session_closes_the_process() -> None:
    stdout, out = os.pipe()
    process = FakeProcess(-1, stdout, code=None)
    session = asyncio.create_task(serve(EXEC, streams([]), process))
    await process.awaited.wait()
    session.cancel()
    await asyncio.gather(session, return_exceptions=True)
    assert process.closed
    os.close(out)


async def test_output_that_nobody_asked_for_is_read_and_dropped() -> None:
    stdout, out = os.pipe()
    os.write(out, b"x" * 1000)
    os.close(out)
    log: list[tuple[str, bytes]] = []
    client = streams(log)
    client.stdout = client.stderr = None
    await serve(EXEC, client, FakeProcess(-1, stdout))
    assert [name for name, _ in log] == ["error", "error"]


@pytest.mark.parametrize("request_", [EXEC, ATTACH])
async def test_error_is_told(request_: CommandRequest) -> None:
    log: list[tuple[str, bytes]] = []
    await serve(request_, streams(log), NotFound("cannot find it"))
    what = "executing command in" if request_.command else "attaching to"
    message = decode_outcome(log[2][1]).message
    assert message == f"Internal error occurred: error {what} container: cannot find it"


class FakeAttachment(FakeProcess):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__(-1, -1)
        self.socket = sock


async def test_packets_of_one_stream_are_joined_and_their_order_is_kept() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    for packet in (b"\x02a", b"\x02b", b"\x03c", b"\x02d", b"\x09skipped", b"\x02e", b"\x03" + b"f" * 8192, b"\x03g"):
        far.send(packet)
    far.shutdown(socket.SHUT_WR)
    log: list[tuple[str, bytes]] = []
    attachment = FakeAttachment(near)
    await serve(ATTACH, streams(log), attachment)
    assert log[:4] == [("out", b"ab"), ("err", b"c"), ("out", b"de"), ("err", b"f" * 8192 + b"g")]
    assert attachment.closed
    assert near.fileno() == -1
    far.close()
