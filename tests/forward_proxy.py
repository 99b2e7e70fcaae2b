"""A proxy of the kind that HTTP_PROXY and HTTPS_PROXY name: HTTP or SOCKS 5, with or without TLS, for one server."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class ForwardProxy:
    host: str
    """And port."""
    upstream: tuple[str, int]
    """Where every connection goes, whatever name was asked for."""
    user: str = ""
    password: str = ""
    status: str = "200 OK"
    """The answer to CONNECT."""
    socks_status: int = 0
    asked: list[str] = field(default_factory=list)
    """The first line of each HTTP request, or the name and port of each SOCKS request."""
    authorization: list[str] = field(default_factory=list)


@contextmanager
def forward_proxy(upstream: str, certificate: tuple[str, str] | None = None) -> Iterator[ForwardProxy]:
    host, _, port = upstream.rpartition(":")
    server = _Server(("127.0.0.1", 0), _Handler)
    if certificate is not None:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(*certificate)
    server.proxy = ForwardProxy(f"127.0.0.1:{server.server_address[1]}", (host, int(port)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: ForwardProxy
    context: ssl.SSLContext | None = None


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        connection: socket.socket = self.request
        connection.settimeout(30)
        # The client may go away at any time, which some tests want it to.
        with contextlib.suppress(OSError):
            if self.server.context is not None:
                connection = self.server.context.wrap_socket(connection, server_side=True)
            with connection:
                first = connection.recv(1)
                if first == b"\x05":
                    self._socks(connection)
                elif first:
                    self._http(connection, first)

    def _http(self, connection: socket.socket, head: bytes) -> None:
        proxy = self.server.proxy
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        line, *headers = head.decode().split("\r\n")
        proxy.asked.append(line)
        proxy.authorization += [h.partition(": ")[2] for h in headers if h.lower().startswith("proxy-authorization")]
        if not line.startswith("CONNECT "):
            body = line.encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return
        connection.sendall(f"HTTP/1.1 {proxy.status}\r\n\r\n".encode())
        if proxy.status.startswith("200"):
            self._relay(connection)

    def _socks(self, connection: socket.socket) -> None:
        proxy = self.server.proxy
        methods = _counted(connection)
        wanted = 2 if proxy.user else 0
        if wanted not in methods:
            connection.sendall(b"\x05\xff")
            return
        connection.sendall(bytes((5, wanted)))
        if wanted:
            connection.recv(1)
            user, password = _counted(connection).decode(), _counted(connection).decode()
            is_right = (user, password) == (proxy.user, proxy.password)
            connection.sendall(bytes((1, 0 if is_right else 1)))
            if not is_right:
                return
        kind = _exactly(connection, 4)[3]
        if kind == 3:
            name = _counted(connection).decode()
        else:
            size, family = {1: (4, socket.AF_INET), 4: (16, socket.AF_INET6)}[kind]
            name = socket.inet_ntop(family, _exactly(connection, size))
        port = int.from_bytes(_exactly(connection, 2), "big")
        proxy.asked.append(f"{name} {port}")
        connection.sendall(bytes((5, proxy.socks_status, 0, 1, 127, 0, 0, 1, 0, 80)))
        if proxy.socks_status == 0:
            self._relay(connection)

    def _relay(self, client: socket.socket) -> None:
        with socket.create_connection(self.server.proxy.upstream, 30) as upstream:
            while True:
                ready = [client] if _pending(client) else select.select([client, upstream], [], [], 30)[0]
                for source, target in ((client, upstream), (upstream, client)):
                    if source in ready:
                        data = source.recv(1 << 16)
                        if not data:
                            return
                        target.sendall(data)
                if not ready:
                    return


def _pending(connection: socket.socket) -> bool:
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def _counted(connection: socket.socket) -> bytes:
    """What stands behind its own length."""
    return _exactly(connection, connection.recv(1)[0])
