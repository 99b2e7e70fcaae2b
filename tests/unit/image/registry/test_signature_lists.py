"""What a registry says of a manifest besides itself: its referrers, and its own list of signatures."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.errors import RegistryUnavailable
from crio.image.registries import Endpoint
from crio.image.registry.client import RegistryClient
from crio.image.registry.http import HttpClient
from crio.image.registry.proxy import Proxies
from crio.image.registry.tls import TlsContexts
from crio.spec import oci_image
from crio.wire import reference

DIGEST = Digest("sha256:" + "a" * 64)
INDEX = json.dumps({"schemaVersion": 2, "mediaType": oci_image.INDEX, "manifests": []}).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, str, bytes]]] = {}
    supports: ClassVar[str] = ""

    def do_GET(self) -> None:
        status, kind, body = self.answers.get(self.path, (404, "text/plain", b""))
        self.send_response(200 if self.path == "/v2/" else status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/v2/" and self.supports:
            self.send_header("X-Registry-Supports-Signatures", self.supports)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def handler() -> type[_Handler]:
    return type("Handler", (_Handler,), {"answers": {}})


@pytest.fixture
def client(handler: type[_Handler]) -> Iterator[RegistryClient]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        name = reference.parse(f"127.0.0.1:{running.server_port}/team/app")
        endpoint = Endpoint(name, True, mirror=False)
        yield RegistryClient(HttpClient(TlsContexts([]), Proxies()), endpoint, None, Cancellation())
        running.shutdown()
        thread.join()


def test_referrers(handler: type[_Handler], client: RegistryClient) -> None:
    path = f"/v2/team/app/referrers/{DIGEST}"
    assert client.referrers(DIGEST) is None
    handler.answers[path] = (200, "text/html", b"<html>")
    assert client.referrers(DIGEST) is None
    handler.answers[path] = (200, oci_image.INDEX, INDEX)
    served = client.referrers(DIGEST)
    assert served is not None
    assert served.data == INDEX


def test_the_list_of_signatures(handler: type[_Handler], client: RegistryClient) -> None:
    path = f"/extensions/v2/team/app/signatures/{DIGEST}"
    handler.answers[path] = (200, "application/json", b'{"signatures":[]}')
    assert client.signature_list(DIGEST) is None
    handler.supports = "1"
    assert client.signature_list(DIGEST) == b'{"signatures":[]}'
    del handler.answers[path]
    assert client.signature_list(DIGEST) is None
    handler.answers[path] = (400, "application/json", b"")
    with pytest.raises(RegistryUnavailable, match="signatures of sha256"):
        client.signature_list(DIGEST)
