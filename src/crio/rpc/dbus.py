"""A D-Bus connection: calls with answers, and signals. For the system's services, on a unix socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from crio.base.errors import CrioError, DeadlineExceeded, Unavailable
from crio.wire.dbus import CALL, ERROR, RETURN, SIGNAL, DbusFormatError, Message, MessageReader, encode

_BUS = "org.freedesktop.DBus"
_AUTH_LIMIT = 4096


class DbusRefused(CrioError):
    """The service answered with an error; `name` is its D-Bus name."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class DbusConnection(asyncio.Protocol):
    """One connection; made by `connect`. `on_signal` gets every signal that arrives."""

    def __init__(self, on_signal: Callable[[Message], None]) -> None:
        self._on_signal = on_signal
        self._reader = MessageReader()
        self._greeting: bytearray | None = bytearray()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._serial = 0
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()
        """Set when the connection has ended, whoever ended it."""

    @classmethod
    async def connect(
        cls, socket: str, on_signal: Callable[[Message], None], *, bus: bool, timeout: float = 10.0
    ) -> DbusConnection:
        """Connect and say who we are; with `bus` there is a message bus between us and the services.

        Raises OSError if nobody listens, Unavailable if we are not let in, DeadlineExceeded.
        """
        _, self = await asyncio.get_running_loop().create_unix_connection(lambda: cls(on_signal), socket)
        try:
            async with asyncio.timeout(timeout):
                await self._ready
                if bus:
                    await self.call(_BUS, "/org/freedesktop/DBus", _BUS, "Hello", timeout=timeout)
        except TimeoutError:
            self.close()
            raise DeadlineExceeded(f"cannot talk to {socket}: it does not answer within {timeout:g} s") from None
        except BaseException:
            self.close()
            raise
        return self

    @property
    def closed(self) -> bool:
        return self._transport is None

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        arguments: Sequence[Any] = (),
        *,
        timeout: float = 25.0,
    ) -> tuple[Any, ...]:
        """Call a method; the values it returns. Raises DbusRefused, DeadlineExceeded, Unavailable."""
        if self._transport is None:
            raise Unavailable(f"cannot call {member}: the D-Bus connection is closed")
        self._serial = self._serial % 0xFFFFFFFF + 1
        serial = self._serial
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[serial] = answer
        try:
            message = Message(CALL, serial, path, interface, member, destination=destination, signature=signature)
            self._transport.write(encode(message, arguments))
            async with asyncio.timeout(timeout):
                message = await answer
        except TimeoutError:
            raise DeadlineExceeded(f"cannot call {member}: no answer over D-Bus within {timeout:g} s") from None
        finally:
            self._answers.pop(serial, None)
        values = message.arguments()
        if message.kind == ERROR:
            text = values[0] if values and isinstance(values[0], str) else message.error_name
            raise DbusRefused(message.error_name, text)
        return values

    def close(self) -> None:
        """Close; calls that wait for an answer fail."""
        if self._transport is not None:
            self._transport.abort()
            self._gone("it was closed")

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # Nothing in the answer decides what comes next, so all of it is sent at once.
        transport.write(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\nBEGIN\r\n")

    def data_received(self, data: bytes) -> None:
        try:
            if self._greeting is not None:
                data = self._authenticate(data)
            for message in self._reader.feed(data):
                self._dispatch(message)
        except (DbusFormatError, Unavailable) as error:
            if self._transport is not None:
                self._transport.abort()
            self._gone(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone(str(exc) if exc is not None else "the other side closed it")

    def _authenticate(self, data: bytes) -> bytes:
        assert self._greeting is not None
        self._greeting += data
        line, end, rest = bytes(self._greeting).partition(b"\r\n")
        if not end:
            if len(line) > _AUTH_LIMIT:
                raise Unavailable("the answer to our authentication is too long")
            return b""
        if not line.startswith(b"OK "):
            raise Unavailable(f"our authentication is refused: {line[:100].decode('ascii', 'replace')}")
        self._greeting = None
        self._ready.set_result(None)
        return rest

    def _dispatch(self, message: Message) -> None:
        if message.kind == SIGNAL:
            self._on_signal(message)
        elif message.kind in (RETURN, ERROR):
            answer = self._answers.get(message.reply_serial)
            if answer is not None and not answer.done():
                answer.set_result(message)

    def _gone(self, reason: str) -> None:
        self._transport = None
        self.lost.set()
        error = Unavailable(f"the D-Bus connection is lost: {reason}")
        waits: list[asyncio.Future[Any]] = [self._ready, *self._answers.values()]
        for waiting in waits:
            if not waiting.done():
                waiting.set_exception(error)
                # It may be that nobody waits any more.
                waiting.exception()
        self._answers.clear()
