"""HTTP/1.1 requests for threads: kept-alive connections, time limits, proxies, and errors in one form.

It follows no redirect and knows no credentials: both are decided where it is known for whom they are
(`crio.image.registry.client`). A measurement chose the standard library's client: it moves 1.6 times as many bytes per
CPU second as the best asynchronous one, in a third of the memory (docs/decisions).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from urllib.parse import urljoin, urlsplit

import msgspec

from crio import __version__
from crio.image.cancellation import Cancellation
from crio.image.errors import BadContent, RegistryUnavailable
from crio.image.registry.connect import ProxyRefused, connect
from crio.image.registry.proxy import Proxies, Proxy
from crio.image.registry.tls import TlsContexts

CONNECT_TIMEOUT = 15.0
READ_TIMEOUT = 60.0
_IDLE_PER_ORIGIN = 8
_IDLE_SECONDS = 30.0
_PLAIN_SECONDS = 60.0
_USER_AGENT = f"cri-o/{__version__}"
_DRAIN = 64 << 10


class Url(msgspec.Struct, frozen=True):
    scheme: str
    host: str
    port: int
    path: str
    """With its query."""

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str) -> Url:
        """The URL that a redirect to `location` leads to. Raises RegistryUnavailable if it cannot be used."""
        try:
            target = urljoin(str(self), location)
        except ValueError:
            raise TransportFailed(f"cannot use URL {location[:200]!r}", hopeless=True) from None
        return parse_url(target)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


_DEFAULT_PORTS = {"http": 80, "https": 443}


class TransportFailed(RegistryUnavailable):
    """No usable answer came.

    `hopeless`: the same again would fail the same way. `retry_after`: seconds that the server wants to be left alone.
    """

    def __init__(self, message: str, *, hopeless: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.hopeless = hopeless
        self.retry_after = retry_after


def parse_url(text: str) -> Url:
    """Raises RegistryUnavailable if `text` is no http or https URL that may be put into a request."""
    try:
        parts = urlsplit(text)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        raise TransportFailed(f"cannot use URL {text[:200]!r}", hopeless=True) from None
    if not port or not parts.hostname or not text.isascii() or any(c <= " " or c == "\x7f" for c in text):
        raise TransportFailed(f"cannot use URL {text[:200]!r}: it is not a plain http or https URL", hopeless=True)
    return Url(parts.scheme, parts.hostname, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


class Response:
    """An answer whose body is read by the caller; leaving the `with` block gives the connection back or closes it."""

    def __init__(
        self, client: HttpClient, connection: _Connection, raw: http.client.HTTPResponse, url: Url, scope: Cancellation
    ) -> None:
        self.url = url
        self.status = raw.status
        self.length = raw.length
        """Bytes of the body if the server said so."""
        self._client = client
        self._connection = connection
        self._raw = raw
        self._scope = scope

    def header(self, name: str) -> str:
        return self._raw.getheader(name) or ""

    def headers(self, name: str) -> list[str]:
        return self._raw.headers.get_all(name) or []

    def read_some(self, limit: int) -> bytes:
        """What has arrived, at most `limit` bytes; empty at the end, even one that comes too early."""
        try:
            data = self._raw.read1(limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._scope.check()
            raise _failure(self.url, error) from None
        if not data:
            self._scope.check()
        if self._raw.length == 0:
            # Before Python 3.12 the response does not see for itself that nothing follows, and the connection is lost.
            self._raw.close()
        return data

    def read_all(self, limit: int) -> bytes:
        """The body. Raises TransportFailed if it ends early, BadContent if it is longer than `limit`."""
        body = bytearray()
        while chunk := self.read_some(min(limit + 1 - len(body), 1 << 18)):
            body += chunk
            if len(body) > limit:
                raise BadContent(f"cannot use the answer of {self.url.authority}: it is longer than {limit} bytes")
        if self.length is not None and len(body) != self.length:
            raise TransportFailed(f"cannot read from {self.url.authority}: the answer ended too early")
        return bytes(body)

    def close(self) -> None:
        """Done with it: a short rest is read, so that the connection can be used again."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._raw.isclosed() and self.length is not None and self.length <= _DRAIN:
            try:
                self._raw.read()
            except (OSError, http.client.HTTPException):
                pass
        self._client.give_back(self._connection, self._raw, self._scope)


class _Connection(msgspec.Struct):
    key: tuple[object, ...]
    raw: http.client.HTTPConnection
    proxied: Mapping[str, str] | None = None
    """For plain HTTP through a proxy: the headers that are for the proxy."""
    idle_since: float = 0.0


class HttpClient:
    """Connections to any number of hosts. Thread-safe; a connection is used by one thread at a time."""

    def __init__(
        self,
        tls: TlsContexts,
        proxies: Proxies,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._tls = tls
        self._proxies = proxies
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._lock = threading.Lock()
        self._idle: dict[tuple[object, ...], list[_Connection]] = {}
        self._plain: dict[str, float] = {}

    def is_plain(self, authority: str) -> bool:
        """Whether this host was found to be without TLS not long ago."""
        return time.monotonic() - self._plain.get(authority, float("-inf")) < _PLAIN_SECONDS

    def note_plain(self, authority: str, *, plain: bool) -> None:
        """An answer came without TLS; or not so, or none came, and `is_plain` forgets it."""
        if plain:
            self._plain[authority] = time.monotonic()
        else:
            self._plain.pop(authority, None)

    def request(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        scope: Cancellation,
        *,
        insecure: bool = False,
        body: bytes | None = None,
    ) -> Response:
        """Send a request and read the answer's head. Raises TransportFailed, or Cancelled through `scope`."""
        key = (*url.origin, insecure)
        sent = {"Host": url.authority, "User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **headers}
        while True:
            scope.check()
            connection = self._take_idle(key)
            reused = connection is not None
            try:
                if connection is None:
                    connection = self._connect(url, key, insecure=insecure)
                assert connection.raw.sock is not None
                scope.attach(connection.raw.sock)
                if connection.proxied is None:
                    connection.raw.request(method, url.path, body, sent)
                else:
                    connection.raw.request(method, str(url), body, {**sent, **connection.proxied})
                return Response(self, connection, connection.raw.getresponse(), url, scope)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if connection is not None:
                    self._close(connection, scope)
                scope.check()
                if not reused:
                    raise _failure(url, error) from None
            except BaseException:
                if connection is not None:
                    self._close(connection, scope)
                raise

    def give_back(self, connection: _Connection, raw: http.client.HTTPResponse, scope: Cancellation) -> None:
        """Keep a connection whose answer was read to its end; close any other."""
        done = raw.isclosed() and not raw.will_close and not scope.cancelled
        raw.close()
        if not done or connection.raw.sock is None:
            self._close(connection, scope)
            return
        scope.detach(connection.raw.sock)
        connection.idle_since = time.monotonic()
        with self._lock:
            idle = self._idle.setdefault(connection.key, [])
            idle.append(connection)
            surplus = idle.pop(0) if len(idle) > _IDLE_PER_ORIGIN else None
        if surplus is not None:
            surplus.raw.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            connections = [connection for idle in self._idle.values() for connection in idle]
            self._idle.clear()
        for connection in connections:
            connection.raw.close()

    def _take_idle(self, key: tuple[object, ...]) -> _Connection | None:
        with self._lock:
            idle = self._idle.get(key, [])
            while idle:
                connection = idle.pop()
                if time.monotonic() - connection.idle_since < _IDLE_SECONDS:
                    return connection
                connection.raw.close()
        return None

    def _connect(self, url: Url, key: tuple[object, ...], *, insecure: bool) -> _Connection:
        proxy = self._proxies.for_host(url.scheme, url.host, url.port)

        def context_for(host: str, port: int) -> ssl.SSLContext:
            # A proxy is never one that need not prove who it is.
            return self._tls.get(host, port, insecure=insecure and (host, port) == (url.host, url.port))

        raw = http.client.HTTPConnection(url.host, url.port)
        # It would connect again by itself, and straight.
        raw.auto_open = 0
        try:
            raw.sock = connect(url.scheme, url.host, url.port, proxy, context_for, self._connect_timeout)
        except OSError as error:
            raise _failure(url, error, proxy) from None
        raw.sock.settimeout(self._read_timeout)
        speaks_to_proxy = proxy is not None and proxy.scheme != "socks5" and url.scheme == "http"
        return _Connection(key, raw, proxy.headers if proxy is not None and speaks_to_proxy else None)

    def _close(self, connection: _Connection, scope: Cancellation) -> None:
        if connection.raw.sock is not None:
            scope.detach(connection.raw.sock)
        connection.raw.close()


def _failure(url: Url, error: Exception, proxy: Proxy | None = None) -> TransportFailed:
    where = f"cannot talk to registry {url.authority}"
    if proxy is not None:
        where += f" through proxy {proxy}"
    match error:
        case ProxyRefused():
            return TransportFailed(f"{where}: {error}")
        case ssl.SSLCertVerificationError() if proxy is not None:
            return TransportFailed(
                f"{where}: a certificate is not trusted: {error.verify_message}; put the authority of whichever of the "
                f"two it is into /etc/containers/certs.d/HOST:PORT/ca.crt",
                hopeless=True,
            )
        case ssl.SSLCertVerificationError():
            return TransportFailed(
                f"{where}: its certificate is not trusted: {error.verify_message}; "
                f"put its authority into /etc/containers/certs.d/{url.authority}/ca.crt",
                hopeless=True,
            )
        case ssl.SSLError():
            return TransportFailed(f"{where} by TLS: {error.reason or error}")
        case socket.gaierror():
            unknown = error.errno == socket.EAI_NONAME
            return TransportFailed(f"{where}: its name cannot be resolved: {error.strerror}", hopeless=unknown)
        case TimeoutError():
            return TransportFailed(f"{where}: no answer in time")
        case ConnectionRefusedError():
            return TransportFailed(f"{where}: connection refused")
        case http.client.RemoteDisconnected() | http.client.IncompleteRead():
            return TransportFailed(f"{where}: it closed the connection")
        case OSError():
            return TransportFailed(f"{where}: {error.strerror or error}")
    return TransportFailed(f"{where}: its answer is not HTTP: {type(error).__name__} {str(error)[:200]}")
