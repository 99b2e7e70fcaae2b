"""Signatures beside a registry: from directories, over HTTP, and as a registry's extension lists them."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.errors import BadContent, RegistryUnavailable
from crio.image.registry.http import HttpClient
from crio.image.registry.proxy import proxies_of
from crio.image.registry.tls import TlsContexts
from crio.image.trust import lookaside
from crio.image.trust.signatures import Signature, SigstoreSignature, SimpleSignature, to_blob
from crio.wire import reference

DIGEST = Digest("sha256:" + "a" * 64)
NAME = reference.parse("a.example/team/app:1")
SIGSTORE = SigstoreSignature("x", b"{}", {})


def read(base: str) -> list[Signature]:
    return lookaside.read(base, NAME, DIGEST, HttpClient(TlsContexts(), proxies_of({})), Cancellation("test"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / f"team/app@sha256={'a' * 64}"
    place.mkdir(parents=True)
    (place / "signature-1").write_bytes(b"\xa3one")
    (place / "signature-2").write_bytes(b"what is this")
    (place / "signature-3").write_bytes(to_blob(SIGSTORE))
    (place / "signature-5").write_bytes(b"\xa3five")
    return tmp_path


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.end_headers()
        elif self.path.startswith(("/round/", "/broken/")):
            self.send_response(302 if "round" in self.path else 500)
            self.send_header("Location", self.path)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(directory: Path) -> Iterator[str]:
    handler = functools.partial(_Handler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_directory(directory: Path) -> None:
    assert read(f"file://{directory}") == [SimpleSignature(b"\xa3one"), SIGSTORE]
    assert read(f"file://{directory}/nothing") == []


def test_http(server: str) -> None:
    for base in (server, f"{server}/", f"{server}/moved"):
        assert read(base) == [SimpleSignature(b"\xa3one"), SIGSTORE]
    assert read(f"{server}/nothing") == []
    for base in (f"{server}/round", f"{server}/broken"):
        with pytest.raises(RegistryUnavailable):
            read(base)


def test_other_places() -> None:
    for base in ("ftp://a.example", "relative", ""):
        with pytest.raises(InvalidArgument, match="no file, http or https URL"):
            read(base)


def test_too_much(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookaside, "MAX_TOTAL", 10)
    with pytest.raises(BadContent, match="more than 10 bytes"):
        read(f"file://{directory}")


def test_the_extension() -> None:
    content = base64.b64encode(b"\xa3one").decode()
    good = {"schemaVersion": 2, "type": "atomic", "name": "x", "content": content}
    answer = {"signatures": [good, {**good, "type": "other"}, {**good, "schemaVersion": 1}, {**good, "content": ""}]}
    assert lookaside.from_extension(json.dumps(answer).encode()) == [SimpleSignature(b"\xa3one")]
    assert lookaside.from_extension(b'{"signatures":null}') == []
    for bad in (b"", b"[]", json.dumps({"signatures": [good] * 200}).encode()):
        with pytest.raises(BadContent):
            lookaside.from_extension(bad)
