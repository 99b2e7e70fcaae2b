"""A connection to a registry host: straight or through a proxy, with or without TLS."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from crio.image.registry.proxy import Proxy

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_T = TypeVar("_T")

_MAX_HEAD = 16 << 10
_TLS_RECORD = 32 << 10

# RFC 1928 and, for names and passwords, RFC 1929.
_SOCKS, _NO_AUTHENTICATION, _BY_PASSWORD, _CONNECT = 5, 0, 2, 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_REFUSALS = {
    1: "it failed",
    2: "its rules do not allow it",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "the connection took too long",
    7: "it cannot connect",
    8: "it does not know this kind of address",
}


class ProxyRefused(OSError):
    """The proxy answers, but does not connect; the message says why."""


def connect(
    scheme: str,
    host: str,
    port: int,
    proxy: Proxy | None,
    context_for: Callable[[str, int], ssl.SSLContext],
    timeout: float,
) -> socket.socket:
    """A socket for requests to the host, each of its steps within `timeout` seconds.

    For plain HTTP through an HTTP proxy it is one for requests to the proxy. `context_for(host, port)` gives the TLS
    settings, also those for the proxy itself. Raises OSError, ssl.SSLError among them, and ProxyRefused.
    """
    sock = socket.create_connection((proxy.host, proxy.port) if proxy else (host, port), timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if proxy is not None:
            if proxy.scheme == "https":
                sock = context_for(proxy.host, proxy.port).wrap_socket(sock, server_hostname=proxy.host)
            if proxy.scheme == "socks5":
                _socks(sock, proxy, host, port)
            elif scheme == "https":
                _tunnel(sock, proxy, host, port)
        if scheme == "https":
            context = context_for(host, port)
            if isinstance(sock, ssl.SSLSocket):
                return TlsInTls(sock, context, host)
            return context.wrap_socket(sock, server_hostname=host)
        return sock
    except BaseException:
        sock.close()
        raise


def _tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """HTTP CONNECT (RFC 9110 9.3.6)."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    head = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", *(f"{k}: {v}" for k, v in proxy.headers.items())]
    sock.sendall("\r\n".join((*head, "", "")).encode())
    answer = b""
    # The other side of the tunnel says nothing before it is spoken to, so nothing behind the head can be lost.
    while b"\r\n\r\n" not in answer:
        data = sock.recv(4096)
        if not data or len(answer) > _MAX_HEAD:
            raise ProxyRefused("it closes the connection" if not data else "its answer is too long")
        answer += data
    status, _, reason = answer.partition(b"\r\n")[0].decode("latin-1").partition(" ")[2].partition(" ")
    if len(status) != 3 or not status.startswith("2"):
        raise ProxyRefused(f"it answers {status} {reason}".rstrip()[:200])


def _socks(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    user, password = proxy.user.encode(), proxy.password.encode()
    methods = bytes((_NO_AUTHENTICATION, _BY_PASSWORD)) if user else bytes((_NO_AUTHENTICATION,))
    sock.sendall(bytes((_SOCKS, len(methods))) + methods)
    version, method = _exactly(sock, 2)
    if version != _SOCKS or method not in methods:
        raise ProxyRefused("it does not accept us without another authentication" if version == _SOCKS else _NO_SOCKS)
    if method == _BY_PASSWORD:
        if max(len(user), len(password)) > 255:
            raise ProxyRefused("its name or password is too long for SOCKS 5")
        sock.sendall(bytes((1, len(user))) + user + bytes((len(password),)) + password)
        if _exactly(sock, 2)[1] != 0:
            raise ProxyRefused("it does not accept its name and password")
    sock.sendall(bytes((_SOCKS, _CONNECT, 0)) + _socks_address(host) + port.to_bytes(2, "big"))
    version, status, _, kind = _exactly(sock, 4)
    if version != _SOCKS or status != 0:
        raise ProxyRefused(_REFUSALS.get(status, f"it answers {status}") if version == _SOCKS else _NO_SOCKS)
    length = {_IPV4: 4, _IPV6: 16}.get(kind) or _exactly(sock, 1)[0]
    _exactly(sock, length + 2)


_NO_SOCKS = "it does not speak SOCKS 5"


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes((_NAME, len(name))) + name
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ProxyRefused("it closes the connection")
        data += piece
    return data


class TlsInTls(socket.socket):
    """TLS to a host through a proxy which is reached by TLS itself; ssl's own sockets cannot be put into another.

    Another descriptor of the same connection, so that it can be shut from another thread as every other socket.
    """

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext, host: str) -> None:
        """`outer` is closed with this socket; if this raises, it is the caller's. Raises OSError."""
        super().__init__(fileno=os.dup(outer.fileno()))
        self._outer = outer
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)
        try:
            self._turn(self._tls.do_handshake)
        except BaseException:
            self.close()
            raise

    def _turn(self, step: Callable[[], _T]) -> _T:
        """The outcome of a step of TLS, with all that has to be sent and received for it."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._send_off()
                data = self._outer.recv(_TLS_RECORD)
                if data:
                    self._received.write(data)
                else:
                    self._received.write_eof()
            finally:
                self._send_off()

    def _send_off(self) -> None:
        if self._to_send.pending:
            self._outer.sendall(self._to_send.read())

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        try:
            # typeshed's view of a read into a buffer is that of a read without one.
            return self._turn(lambda: cast(int, self._tls.read(nbytes or len(view), view)))
        except ssl.SSLEOFError:
            # As of a socket; who reads a body knows how long it has to be.
            return 0

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        view = memoryview(data).cast("B")
        while view:
            view = view[self._turn(partial(self._tls.write, view)) :]

    def settimeout(self, value: float | None) -> None:
        self._outer.settimeout(value)

    def _real_close(self) -> None:
        # What socket.close calls once the last file made of the socket is closed, too.
        self._outer.close()
        super()._real_close()  # type: ignore[misc]
