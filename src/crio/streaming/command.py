"""Exec and attach: a process's streams joined to a client's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crio.base.errors import CrioError
from crio.streaming.backend import Attacher, Executor
from crio.streaming.inlet import Inlet
from crio.streaming.outlet import ClientGone, Outlet, pump
from crio.streaming.requests import CommandRequest
from crio.streaming.sizes import SizeInlet
from crio.streaming.stream import wait_readable
from crio.wire.remotecommand import SUCCESS, Outcome, encode_outcome

log = logging.getLogger(__name__)

_STDOUT, _STDERR = 2, 3
_PACKET = 8192
_PACKETS = 1 << 16


class _Nowhere:
    async def send(self, data: memoryview) -> None: ...

    async def end(self) -> None: ...


class CommandStreams(msgspec.Struct):
    """A client's side of exec or attach. Streams that it did not ask for are None; a terminal has no stderr."""

    version: int
    """Of the protocol, see `wire.remotecommand`."""
    error: Outlet
    stdin: Inlet | None = None
    stdout: Outlet | None = None
    stderr: Outlet | None = None
    sizes: SizeInlet | None = None


async def serve_command(
    request: CommandRequest, streams: CommandStreams, executor: Executor, attacher: Attacher
) -> None:
    """Run the request to its end and tell the client how it ended. Raises ClientGone.

    Cancelling it, because the client has gone, closes the process's streams.
    """
    what = "executing command in" if request.command else "attaching to"
    try:
        if request.command:
            outcome = await _exec(request, streams, executor)
        else:
            outcome = await _attach(request, streams, attacher)
    except CrioError as error:
        outcome = Outcome(None, f"error {what} container: {error.message}")
    except ClientGone:
        raise
    except Exception as error:  # the boundary of this server
        log.exception("error %s container %s", what, request.container_id)
        outcome = Outcome(None, f"error {what} container: {type(error).__name__}: {error}")
    for outlet in (streams.stdout, streams.stderr):
        if outlet is not None:
            await outlet.end()
    if text := encode_outcome(outcome, streams.version):
        await streams.error.send(memoryview(text))
    await streams.error.end()


async def _exec(request: CommandRequest, streams: CommandStreams, executor: Executor) -> Outcome:
    process = await executor.exec(
        request.container_id,
        request.command,
        tty=request.tty,
        stdin=request.stdin,
        stdout=request.stdout,
        stderr=request.stderr,
    )
    inputs = [process.stdin] if process.stdin not in (-1, process.stdout) else []
    outputs = {process.stdout: streams.stdout, process.stderr: streams.stderr}
    outputs.pop(-1, None)

    def end_input() -> None:
        # The end of a terminal's input is a character, which came as data.
        if inputs and not request.tty:
            os.close(inputs.pop())

    for fd in {*inputs, *outputs}:
        os.set_blocking(fd, False)
    ended = asyncio.ensure_future(process.wait())
    pumps = [asyncio.ensure_future(pump(fd, outlet or _Nowhere(), ended)) for fd, outlet in outputs.items()]
    tasks: list[asyncio.Future[Any]] = [ended, *pumps]
    try:
        if streams.sizes is not None:
            # Before any input: what was typed ahead shall find the terminal as large as its client says.
            await streams.sizes.apply_latest(process.resize)
            tasks.append(asyncio.ensure_future(streams.sizes.apply(process.resize)))
        if streams.stdin is not None and process.stdin >= 0:
            streams.stdin.connect(process.stdin, on_end=end_input)
        await asyncio.gather(ended, *pumps)
        return Outcome(ended.result())
    finally:
        if streams.stdin is not None:
            streams.stdin.disconnect()
        await _cancel(tasks)
        for fd in {*inputs, *outputs}:
            os.close(fd)
        await process.close()


async def _cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Nothing may wait for a descriptor when it is closed."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _attach(request: CommandRequest, streams: CommandStreams, attacher: Attacher) -> Outcome:
    attachment = await attacher.attach(
        request.container_id, tty=request.tty, stdin=request.stdin, stdout=request.stdout, stderr=request.stderr
    )
    sock = attachment.socket

    def end_input() -> None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)

    resizing = [asyncio.ensure_future(streams.sizes.apply(attachment.resize))] if streams.sizes else []
    try:
        if streams.stdin is not None:
            streams.stdin.connect(sock.fileno(), on_end=end_input)
        stdout, stderr = streams.stdout or _Nowhere(), streams.stderr or _Nowhere()
        await _pump_packets(sock, {_STDOUT: stdout, _STDERR: stderr})
    finally:
        if streams.stdin is not None:
            streams.stdin.disconnect()
        await _cancel(resizing)
        sock.close()
        await attachment.close()
    return SUCCESS


async def _pump_packets(sock: socket.socket, outlets: Mapping[int, Outlet]) -> None:
    """Send what comes on an attach socket to its end, many packets of one stream in one frame. Raises ClientGone."""
    kind, held = bytearray(1), 0
    buffer, size = memoryview(bytearray(_PACKETS)), 0
    while True:
        try:
            got = sock.recvmsg_into([kind, buffer[size:]])[0]
        except BlockingIOError:
            if size:
                await outlets[held].send(buffer[:size])
                size = 0
            else:
                await wait_readable(sock.fileno())
            continue
        except OSError:
            got = 0
        if not got:
            if size:
                await outlets[held].send(buffer[:size])
            return
        if kind[0] not in outlets:
            continue
        end = size + got - 1
        if size and kind[0] != held:
            await outlets[held].send(buffer[:size])
            buffer[: end - size] = bytes(buffer[size:end])
            end -= size
        held, size = kind[0], end
        if len(buffer) - size < _PACKET:
            await outlets[held].send(buffer[:size])
            size = 0
