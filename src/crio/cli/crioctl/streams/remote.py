"""A command in a container joined with this process' stdin, stdout and stderr."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Protocol

from crio.base.errors import Cancelled, CrioError, Unavailable
from crio.cli.crioctl.streams import terminal
from crio.cli.crioctl.streams.pipe import Refused, Tls
from crio.wire import remotecommand
from crio.wire.remotecommand import ERROR, RESIZE, STDERR, STDIN, STDOUT, decode_outcome, encode_size


class Wanted(NamedTuple):
    """What is to be connected."""

    stdin: bool
    tty: bool
    transport: str = "websocket"
    tls: Tls = Tls()


class Channels(Protocol):
    """The channels of one exec or attach."""

    version: int

    async def send(self, channel: int, data: bytes) -> None: ...

    async def end(self, channel: int) -> None: ...

    def received(self) -> AsyncIterator[tuple[int, bytes]]: ...

    async def close(self) -> None: ...


async def open_channels(url: str, wanted: Wanted) -> Channels:
    """Connect with the transport that is wanted, or with the other one where the server does not speak it."""
    from crio.cli.crioctl.streams.websocket import WebSocketChannels

    if wanted.transport == "websocket":
        try:
            return await WebSocketChannels.open(url, wanted.tls)
        except Refused as error:
            # Tokens are good for one use: only an answer that says "not this protocol" leaves it unused.
            if error.status not in (400, 405, 426, 501):
                raise
    from crio.cli.crioctl.streams.spdy import SpdyChannels

    return await SpdyChannels.open(url, wanted.tls, stdin=wanted.stdin, stderr=not wanted.tty, tty=wanted.tty)


async def run(url: str, wanted: Wanted) -> int:
    """Connect this process with the command until it ends; its exit code.

    With a terminal, Ctrl-P Ctrl-Q detaches and gives 0. Raises Unavailable if the connection breaks off.
    """
    channels = await open_channels(url, wanted)
    try:
        with contextlib.ExitStack() as stack:
            if wanted.tty and wanted.stdin:
                stack.enter_context(terminal.raw_mode(0))
            return await _join(channels, wanted)
    finally:
        await channels.close()


async def _join(channels: Channels, wanted: Wanted) -> int:
    loop = asyncio.get_running_loop()
    output = asyncio.ensure_future(_output(channels))
    helpers: list[asyncio.Future[bool]] = []
    if wanted.tty:
        resized = asyncio.Event()
        loop.add_signal_handler(signal.SIGWINCH, resized.set)
        with contextlib.suppress(Unavailable):  # the outcome will say why
            await _send_size(channels)  # before what was typed ahead
        helpers.append(asyncio.ensure_future(_sizes(channels, resized)))
    if wanted.stdin:
        helpers.append(asyncio.ensure_future(_input(channels, detachable=wanted.tty)))
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Not the default end: the terminal must be put back.
        loop.add_signal_handler(number, output.cancel)
    try:
        while not output.done():
            running = [each for each in helpers if not each.done()]
            both: list[asyncio.Future[Any]] = [output, *running]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if any(each.done() and each.result() for each in running):
                _write(1, b"\r\n")  # the shell's prompt begins a new line
                return 0
        outcome = output.result()
    except asyncio.CancelledError:
        if asyncio.current_task() and asyncio.current_task().cancelling():  # type: ignore[union-attr]
            raise
        raise Cancelled("cannot go on: ended by a signal") from None
    finally:
        output.cancel()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(output, *helpers, return_exceptions=True)
        for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
    if outcome is None:
        raise Unavailable("cannot go on: the connection ended before the command did")
    if outcome.exit_code is None:
        raise CrioError(outcome.message or "the command could not be run")
    return outcome.exit_code


async def _output(channels: Channels) -> remotecommand.Outcome | None:
    """Write what comes to stdout and stderr; the outcome, None if the connection ended without one."""
    report = bytearray()
    async for channel, data in channels.received():
        if channel in (STDOUT, STDERR):
            _write(1 if channel == STDOUT else 2, data)
        elif channel == ERROR and len(report) < 1 << 16:
            report += data
            if channels.version >= 4 and _whole(report):
                # The report comes last. Servers close after it, and some wait for us to do so.
                return decode_outcome(bytes(report))
    return decode_outcome(bytes(report)) if report or channels.version < 4 else None


def _whole(report: bytearray) -> bool:
    import json

    try:
        json.loads(report)
    except ValueError:
        return False
    return True


async def _input(channels: Channels, *, detachable: bool) -> bool:
    """Send stdin until its end; True if the detach keys were typed."""
    keys = terminal.DetachKeys()
    try:
        async for data in terminal.chunks(0):
            detached = False
            if detachable:
                data, detached = keys.feed(data)
            if data:
                await channels.send(STDIN, data)
            if detached:
                return True
        await channels.end(STDIN)
    except Unavailable:
        pass  # the command does not read any more; its outcome says why
    return False


async def _sizes(channels: Channels, resized: asyncio.Event) -> bool:
    while True:
        await resized.wait()
        resized.clear()
        await _send_size(channels)


async def _send_size(channels: Channels) -> None:
    size = terminal.size(0)
    if size is not None:
        await channels.send(RESIZE, encode_size(size))


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            # Somebody shares the terminal and made it non-blocking.
            import select

            select.select([], [fd], [])
