"""A SOCK_SEQPACKET connection to a monitor, in the daemon's event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from crio.conmon.errors import MonitorGone, MonitorUnavailable
from crio.conmon.packets import Packet, PacketError, receive, send

if TYPE_CHECKING:
    from crio.conmon.packets import Value

_MAX_UNREAD = 16


class Connection:
    """Answers come in the order of the requests. Two packets come by themselves: `exited` goes to `exited`, and `log`,
    what became of the log, to `on_log`.

    `exited` ends with None if the other side closes without it. `closed` ends when the other side is gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._unread: deque[Packet] = deque()
        self._waiting: deque[asyncio.Future[Packet]] = deque()
        self.exited: asyncio.Future[Packet | None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.on_log: Callable[[Packet], None] | None = None
        self._loop.add_reader(sock.fileno(), self._readable)

    async def request(self, verb: str, fields: Mapping[str, Value], timeout: float) -> Packet:
        """Send a request and return its answer. MonitorUnavailable if none comes in time."""
        self.send(verb, fields)
        try:
            async with asyncio.timeout(timeout):
                return await self._expect()
        except TimeoutError:
            raise MonitorUnavailable(f"cannot ask the monitor to {verb}: no answer within {timeout:g} s") from None

    async def request_both(
        self, first: tuple[str, Mapping[str, Value]], second: tuple[str, Mapping[str, Value]], timeout: float
    ) -> Packet:
        """Send two requests at once, so that the other side wakes only once, and return the second one's answer."""
        self.send(*first)
        self.send(*second)
        try:
            async with asyncio.timeout(timeout):
                (await self._expect()).close()
                return await self._expect()
        except TimeoutError:
            raise MonitorUnavailable(f"cannot ask the monitor to {second[0]}: no answer within {timeout:g} s") from None

    async def answer(self, timeout: float) -> Packet:
        """The next packet that is not `exited`. TimeoutError after `timeout` seconds, MonitorUnavailable at the end."""
        async with asyncio.timeout(timeout):
            return await self._expect()

    def send(self, verb: str, fields: Mapping[str, Value]) -> None:
        """Raises MonitorGone if the other side has ended."""
        if self.closed.done():
            raise MonitorGone(f"cannot ask the monitor to {verb}: it has closed the connection")
        try:
            send(self._socket, verb, fields)
        except (BrokenPipeError, ConnectionResetError):
            raise MonitorGone(f"cannot ask the monitor to {verb}: it has closed the connection") from None
        except OSError as error:
            raise MonitorUnavailable(f"cannot ask the monitor to {verb}: {error.strerror}") from None

    def end_requests(self) -> None:
        """Tell the other side that nobody waits for its work any more, and still listen to it."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        for packet in self._unread:
            packet.close()
        self._unread.clear()
        for future in self._waiting:
            if not future.done():
                future.set_exception(MonitorGone("cannot reach the monitor: it has closed the connection"))
        self._waiting.clear()
        if not self.exited.done():
            self.exited.set_result(None)
        if not self.closed.done():
            self.closed.set_result(None)

    def _expect(self) -> asyncio.Future[Packet]:
        future: asyncio.Future[Packet] = self._loop.create_future()
        if self._unread:
            future.set_result(self._unread.popleft())
        elif self.closed.done():
            future.set_exception(MonitorGone("cannot reach the monitor: it has closed the connection"))
        else:
            self._waiting.append(future)
        return future

    def _readable(self) -> None:
        try:
            packet = receive(self._socket)
        except BlockingIOError:
            return
        except (OSError, PacketError):
            packet = None
        if packet is None:
            self.close()
        elif packet.verb == "exited":
            if not self.exited.done():
                self.exited.set_result(packet)
        elif packet.verb == "log":
            if self.on_log is not None:
                self.on_log(packet)
        elif self._waiting:
            future = self._waiting.popleft()
            if future.done():
                packet.close()
            else:
                future.set_result(packet)
        elif len(self._unread) < _MAX_UNREAD:
            self._unread.append(packet)
        else:
            packet.close()


def connect(directory: str, name: str) -> socket.socket:
    """A connected SEQPACKET socket to `name` in `directory`, whose path may be longer than a socket address."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.connect(f"/proc/self/fd/{fd}/{name}")
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(fd)
    return sock
