"""The monitor's control socket: requests of the daemon, and the news that it watches for.

Each request packet is answered by one packet, `ok` or `failed`. A connection that has sent `watch` (and the one that
the monitor was born with) also gets `exited` once, and, if it has asked for it with `log_news`, `log` as often as the
log becomes unwritable or writable again. A connection that does not read loses its answers and is closed.
"""

from __future__ import annotations

import socket

from crio.conmon.loop import READ
from crio.conmon.packets import PROTOCOL, Packet, PacketError, receive, send
from crio.conmon.sockets import accept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crio.conmon.loop import Loop
    from crio.conmon.packets import Value

    Operation = Callable[[Packet], Mapping[str, Value]]


class ControlServer:
    """Serves `operations`: by verb, a function from the request to the answer's fields; its OSError is answered.

    The loop has `listener`, and so has it the open connections that are given to it with `take`.
    """

    def __init__(self, loop: Loop, operations: Mapping[str, Operation], listener: socket.socket) -> None:
        self._loop = loop
        self._operations = operations
        self._clients: dict[int, socket.socket] = {}
        self._watchers: set[int] = set()
        self._log_watchers: set[int] = set()
        self._news: tuple[str, Mapping[str, Value]] | None = None
        self._listener = listener
        loop.handle(listener.fileno(), self._accept)

    def take(self, sock: socket.socket, *, watches: bool, watches_log: bool) -> None:
        """Serve a connection which gets the news, and those of the log, without asking for them."""
        fd = sock.fileno()
        sock.setblocking(False)
        self._clients[fd] = sock
        if watches:
            self._watchers.add(fd)
        if watches_log:
            self._log_watchers.add(fd)
        self._loop.handle(fd, lambda _events: self._ready(fd))

    def connections(self) -> list[tuple[int, bool, bool]]:
        """Descriptor and the two arguments of `take` for each connection that is open now."""
        return [(fd, fd in self._watchers, fd in self._log_watchers) for fd in self._clients]

    def announce_log(self, fields: Mapping[str, Value]) -> None:
        """Tell those who asked for it."""
        for fd in list(self._log_watchers):
            self._send(fd, "log", fields)

    def announce(self, verb: str, fields: Mapping[str, Value]) -> None:
        """Tell all watchers, also those that come later."""
        self._news = verb, fields
        for fd in list(self._watchers):
            self._send(fd, verb, fields)

    def _accept(self, _events: int) -> None:
        sock = accept(self._listener, len(self._clients))
        if sock is not None:
            self._loop.register(sock.fileno(), READ)
            self.take(sock, watches=False, watches_log=False)

    def _ready(self, fd: int) -> None:
        try:
            packet = receive(self._clients[fd])
        except BlockingIOError:
            return
        except (OSError, PacketError, ValueError):
            packet = None
        if packet is None:
            self._drop(fd)
            return
        packet.close()
        operation = self._operations.get(packet.verb)
        if packet.verb == "watch":
            self._watchers.add(fd)
            if packet.flag("log_news"):
                self._log_watchers.add(fd)
            self._send(fd, "ok", {"protocol": PROTOCOL})
            if self._news is not None and fd in self._clients:
                self._send(fd, *self._news)
        elif operation is None:
            self._send(fd, "failed", {"message": f"this monitor does not know {packet.verb[:40]!r}"})
        else:
            try:
                answer = operation(packet)
            except OSError as error:
                self._send(fd, "failed", {"message": error.strerror or str(error), "errno": error.errno or 0})
            except PacketError as error:
                self._send(fd, "failed", {"message": str(error)})
            else:
                self._send(fd, "ok", answer)

    def _send(self, fd: int, verb: str, fields: Mapping[str, Value]) -> None:
        try:
            send(self._clients[fd], verb, fields)
        except OSError:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        self._loop.remove(fd)
        self._watchers.discard(fd)
        self._log_watchers.discard(fd)
        self._clients.pop(fd).close()
