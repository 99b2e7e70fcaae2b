"""Attach: clients that see the container's output and may write to its stdin.

One SOCK_SEQPACKET socket with conmon's framing: a packet to the client is a byte (2 stdout, 3 stderr) and at most 8192
bytes of output; a packet from it is stdin. Clients come and go at any time and get what is written from then on.

A client that does not read never stalls the container: what its socket does not take is queued up to a limit, then
skipped, and the client is told how much as soon as it reads again. Input goes the other way round: while the container
does not read its stdin, no more is taken from clients.
"""

from __future__ import annotations

import select
import socket

from crio.conmon.loop import HANG_UP, PEER_DONE, READ, WRITE
from crio.conmon.sockets import accept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crio.conmon.loop import Loop
    from crio.conmon.stdin import ContainerInput

STDOUT = 2
STDERR = 3
PACKET_DATA = 8192
MAX_QUEUED = 1024 * 1024
"""Bytes that wait for one slow client."""

_STREAM_BYTE = {STDOUT: b"\x02", STDERR: b"\x03"}
_MAX_INPUT = 64 * 1024
_NOTICE = b"\r\n[%d bytes of output were skipped here because this client did not read them; the log has them]\r\n"


class _Client:
    __slots__ = ("events", "queue", "queued", "skipped", "socket", "wrote")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.events = READ | PEER_DONE
        self.queue: list[bytes] = []
        self.queued = 0
        self.skipped = 0
        self.wrote = False


class AttachServer:
    """Serves attach clients on a listening socket that the loop has.

    `stdin_once`: when the first client that has written anything, or said that it will not, is done, stdin ends.
    """

    def __init__(self, loop: Loop, listener: socket.socket, stdin: ContainerInput | None, *, stdin_once: bool) -> None:
        self._loop = loop
        self._listener = listener
        self._stdin = stdin
        self._stdin_once = stdin_once
        self._clients: dict[int, _Client] = {}
        if stdin is not None:
            stdin.on_unblocked = self._take_input
        loop.handle(listener.fileno(), self._accept)

    @property
    def count(self) -> int:
        return len(self._clients)

    def broadcast(self, stream: int, data: bytes) -> None:
        """Send output to all clients."""
        head = _STREAM_BYTE[stream]
        view = memoryview(data)
        for start in range(0, len(data), PACKET_DATA):
            packet = head + view[start : start + PACKET_DATA]
            for client in list(self._clients.values()):
                self._send(client, packet)

    def pending(self) -> bool:
        """Whether some client has not been given everything yet."""
        return any(client.queue or client.skipped for client in self._clients.values())

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)

    def _accept(self, _events: int) -> None:
        sock = accept(self._listener, len(self._clients))
        if sock is None:
            return
        client = _Client(sock)
        self._clients[sock.fileno()] = client
        self._loop.add(sock.fileno(), client.events, lambda events: self._ready(client, events))
        if self._stdin is not None and self._stdin.blocked:
            self._take_input()

    def _ready(self, client: _Client, events: int) -> None:
        if events & WRITE:
            self._flush(client)
        if events & (READ | PEER_DONE | HANG_UP | select.EPOLLERR) and client.socket.fileno() >= 0:
            self._read(client, events)

    def _read(self, client: _Client, events: int) -> None:
        try:
            data = client.socket.recv(_MAX_INPUT)
        except BlockingIOError:
            if events & (HANG_UP | select.EPOLLERR):
                self._drop(client)
            return
        except OSError:
            data = b""
        if data:
            client.wrote = True
            if self._stdin is not None:
                self._stdin.write(data)
                if self._stdin.blocked:
                    self._take_input()
            return
        hung_up = bool(events & (HANG_UP | select.EPOLLERR))
        if self._stdin is not None and self._stdin_once and (client.wrote or not hung_up):
            self._stdin.close()
        if hung_up:
            self._drop(client)
        else:
            # It has shut down its writing half only, and still wants the output.
            self._listen(client, client.events & ~(READ | PEER_DONE))

    def _send(self, client: _Client, packet: bytes) -> None:
        if client.queue or client.skipped:
            self._queue(client, packet)
            return
        try:
            client.socket.send(packet)
        except BlockingIOError:
            self._queue(client, packet)
            self._listen(client, client.events | WRITE)
        except OSError:
            self._drop(client)

    def _queue(self, client: _Client, packet: bytes) -> None:
        if client.skipped or client.queued + len(packet) > MAX_QUEUED:
            client.skipped += len(packet) - 1
        elif (
            client.queue and client.queue[-1][0] == packet[0] and len(client.queue[-1]) + len(packet) <= PACKET_DATA + 2
        ):
            # Joined, because a byte that waits by itself occupies fifty.
            client.queue[-1] += packet[1:]
            client.queued += len(packet) - 1
        else:
            client.queue.append(packet)
            client.queued += len(packet)

    def _flush(self, client: _Client) -> None:
        sent = 0
        try:
            for packet in client.queue:
                client.socket.send(packet)
                sent += 1
                client.queued -= len(packet)
            if client.skipped:
                client.socket.send(_STREAM_BYTE[STDOUT] + _NOTICE % client.skipped)
                client.skipped = 0
            self._listen(client, client.events & ~WRITE)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
        del client.queue[:sent]

    def _take_input(self) -> None:
        """Listen to clients' input only while the container takes it."""
        assert self._stdin is not None
        for client in self._clients.values():
            if client.events & PEER_DONE:
                events = client.events & ~READ if self._stdin.blocked else client.events | READ
                self._listen(client, events)

    def _listen(self, client: _Client, events: int) -> None:
        if events != client.events:
            client.events = events
            self._loop.modify(client.socket.fileno(), events)

    def _drop(self, client: _Client) -> None:
        fd = client.socket.fileno()
        if fd >= 0:
            del self._clients[fd]
            self._loop.remove(fd)
            client.socket.close()
