"""A token server for Debian's docker-registry: answers whoever knows the password with a signed token (RFC 7519)."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from registry_server import PASSWORD, USER, make_certificate

_SERVICE = "registry"
_ISSUER = "tests"


@dataclass
class TokenServer:
    realm: str
    certificate: str
    """Path of what its tokens, and its connections, are signed by."""
    asked: list[str] = field(default_factory=list)
    """The scopes that were asked for."""

    def section(self) -> str:
        """The `auth:` section of the registry that trusts it."""
        return (
            f"auth:\n  token:\n    realm: {self.realm}\n    service: {_SERVICE}\n    issuer: {_ISSUER}\n"
            f"    rootcertbundle: {self.certificate}\n"
        )


@contextmanager
def token_server(directory: str) -> Iterator[TokenServer]:
    """With TLS on loopback, as long as the block lasts; makes a certificate in `directory`."""
    certificate, key = make_certificate(directory, "token")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    running = TokenServer(f"https://127.0.0.1:{server.server_address[1]}/token", certificate)
    server.running, server.key = running, key  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        running: TokenServer = self.server.running  # type: ignore[attr-defined]
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        running.asked += scopes
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        status, answer = 401, {}
        if self.headers.get("Authorization") == wanted:
            status = 200
            answer = {"token": _token(running.certificate, self.server.key, scopes)}  # type: ignore[attr-defined]
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _token(certificate: str, key: str, scopes: list[str]) -> str:
    with open(certificate) as file:
        body = "".join(line.strip() for line in file if "CERTIFICATE" not in line)
    access = []
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    claims = {"iss": _ISSUER, "sub": USER, "aud": _SERVICE, "exp": now + 300, "nbf": now - 60, "iat": now,
              "jti": str(now), "access": access}  # fmt: skip
    signed = f"{_part({'typ': 'JWT', 'alg': 'ES256', 'x5c': [body]})}.{_part(claims)}"
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", key], input=signed.encode(), capture_output=True, check=True
    )
    return f"{signed}.{_base64url(_raw_signature(done.stdout))}"


def _part(value: object) -> str:
    return _base64url(json.dumps(value).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _raw_signature(der: bytes) -> bytes:
    """The two numbers of an ECDSA signature, 32 bytes each (RFC 7518, 3.4), out of their ASN.1 sequence."""
    position, numbers = 2, b""
    for _ in range(2):
        length = der[position + 1]
        number = der[position + 2 : position + 2 + length].lstrip(b"\0")
        numbers += number.rjust(32, b"\0")
        position += 2 + length
    return numbers
