"""An HTTP proxy in front of a real registry that breaks answers in the ways that networks and registries do."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """What to do to one answer. Several may be set at once."""

    status: int = 0
    """Answer with this status instead of asking the registry."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int = -1
    """Close the connection after so many bytes of the body."""
    flip: int = -1
    """Change the body's byte at this place."""
    extra_length: int = 0
    """Say (and send) so many bytes more than there are, or (say) fewer."""
    pause: float = 0.0
    """Seconds between pieces of the body, unless the proxy is `released`."""
    hold_after: int = -1
    """Send no more after so many bytes of the body until the proxy is `released`."""
    piece: int = 1 << 20
    ignore_range: bool = False
    times: int = 1
    """How often it is done; then the next fault of that path has its turn."""


@dataclass
class Seen:
    """A request that the proxy got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    connection: int = 0
    """The port of the other side: the same for requests on one connection."""


@dataclass
class FaultProxy:
    host: str
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """By a part of the path: faults in the order in which they happen."""
    seen: list[Seen] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """Set: nothing is slow any more."""
    _taking: threading.Lock = field(default_factory=threading.Lock)

    def paths(self, part: str = "") -> list[str]:
        return [request.path for request in self.seen if part in request.path]

    def take(self, path: str) -> Fault | None:
        with self._taking:
            for part, faults in self.faults.items():
                while part in path and faults:
                    if faults[0].times <= 0:
                        faults.pop(0)
                        continue
                    faults[0].times -= 1
                    return faults[0]
        return None


@contextmanager
def fault_proxy(upstream: str = "", certificate: tuple[str, str] | None = None) -> Iterator[FaultProxy]:
    """A proxy to the plain HTTP registry `upstream`; without one every answer must be a fault's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    proxy = FaultProxy(f"127.0.0.1:{server.server_address[1]}")
    server.proxy, server.upstream = proxy, upstream  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        proxy: FaultProxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {k.lower(): v for k, v in self.headers.items()}
        proxy.seen.append(Seen(self.command, self.path, headers, body, self.client_address[1]))
        fault = proxy.take(self.path) or Fault()
        if fault.status:
            self._send(fault.status, {**fault.headers, "Content-Length": str(len(fault.body))}, fault.body, fault)
            return
        status, headers, data = self._ask_upstream(fault)
        if 0 <= fault.flip < len(data):
            data = data[: fault.flip] + bytes([data[fault.flip] ^ 1]) + data[fault.flip + 1 :]
        data += b"x" * fault.extra_length
        headers["Content-Length"] = str(len(data) + min(fault.extra_length, 0))
        self._send(status, headers, data, fault)

    def _ask_upstream(self, fault: Fault) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.upstream)  # type: ignore[attr-defined]
        kept = {k: v for k, v in self.headers.items() if k.lower() in ("accept", "authorization", "range")}
        if fault.ignore_range:
            kept = {k: v for k, v in kept.items() if k.lower() != "range"}
        connection.request("GET", self.path, headers=kept)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        passed = (
            "content-type",
            "content-range",
            "accept-ranges",
            "www-authenticate",
            "docker-content-digest",
            "location",
        )
        return answer.status, {k: v for k, v in answer.getheaders() if k.lower() in passed}, data

    def _send(self, status: int, headers: Mapping[str, str], data: bytes, fault: Fault) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            end = len(data) if fault.cut_after < 0 else min(fault.cut_after, len(data))
            released: threading.Event = self.server.proxy.released  # type: ignore[attr-defined]
            for start in range(0, end, fault.piece):
                if 0 <= fault.hold_after <= start:
                    self.wfile.flush()
                    released.wait()
                self.wfile.write(data[start : min(start + fault.piece, end)])
                if fault.pause:
                    self.wfile.flush()
                    released.wait(fault.pause)
            if end < len(data) or fault.extra_length < 0:
                self.close_connection = True
        except (OSError, ssl.SSLError):
            self.close_connection = True
