from __future__ import annotations

import shutil
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.image.cancellation import Cancellation
from crio.image.errors import RegistryUnavailable
from crio.image.registry.http import HttpClient, parse_url
from crio.image.registry.proxy import Proxies
from crio.image.registry.tls import TlsContexts
from registry_server import make_certificate


def test_insecure() -> None:
    context = TlsContexts([]).get("example.com", 443, insecure=True)
    assert context.verify_mode is ssl.CERT_NONE
    assert TlsContexts([]).get("example.com", 443, insecure=False).verify_mode is ssl.CERT_REQUIRED


def test_contexts_are_kept_until_files_change(tmp_path: Path) -> None:
    contexts = TlsContexts([str(tmp_path)])
    first = contexts.get("example.com", 443, insecure=False)
    assert contexts.get("other.com", 443, insecure=False) is first
    (tmp_path / "example.com").mkdir()
    certificate, _ = make_certificate(str(tmp_path))
    shutil.copy(certificate, tmp_path / "example.com" / "ca.crt")
    own = contexts.get("example.com", 443, insecure=False)
    assert own is not first
    assert contexts.get("example.com", 443, insecure=False) is own
    # Without a port in its name a directory is for the standard port.
    assert contexts.get("example.com", 5000, insecure=False) is first


@pytest.mark.parametrize("name", ["ca.crt", "client.cert"])
def test_unusable_files_are_named(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "example.com"
    directory.mkdir()
    (directory / name).write_text("nonsense")
    (directory / "client.key").write_text("nonsense")
    with pytest.raises(InvalidArgument, match=name):
        TlsContexts([str(tmp_path)]).get("example.com", 443, insecure=False)


def test_a_client_certificate_needs_its_key(tmp_path: Path) -> None:
    (tmp_path / "example.com").mkdir()
    (tmp_path / "example.com" / "client.cert").write_text("x")
    with pytest.raises(InvalidArgument, match=r"client\.key is missing"):
        TlsContexts([str(tmp_path)]).get("example.com", 443, insecure=False)


def test_client_certificates_are_shown(tmp_path: Path) -> None:
    server, server_key = make_certificate(str(tmp_path), "server")
    client, client_key = make_certificate(str(tmp_path), "client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server, server_key)
    context.load_verify_locations(client)
    context.verify_mode = ssl.CERT_REQUIRED

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

    running = Quiet(("127.0.0.1", 0), Handler)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.05,))
    thread.start()
    try:
        host = f"127.0.0.1:{running.server_port}"
        directory = tmp_path / "certs.d" / host
        directory.mkdir(parents=True)
        shutil.copy(server, directory / "ca.crt")

        def ask() -> bytes:
            http = HttpClient(TlsContexts([str(tmp_path / "certs.d")]), Proxies())
            with http.request("GET", parse_url(f"https://{host}/"), {}, Cancellation()) as response:
                return response.read_all(10)

        with pytest.raises(RegistryUnavailable):
            ask()
        shutil.copy(client, directory / "me.cert")
        shutil.copy(client_key, directory / "me.key")
        assert ask() == b"ok"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
