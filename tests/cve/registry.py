"""A registry on loopback that serves whatever it is told to, and keeps what it is asked."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from crio.image.platforms import host_platform

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry:
    """Serves manifests and blobs over plain HTTP at `host`. Close it."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[tuple[str, str, str]] = []
        """Method, path, and the Authorization header of each."""
        self.wants_login = False
        self._documents: dict[str, tuple[str, bytes]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            def do_HEAD(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        login = handler.headers.get("Authorization", "")
        self.requests.append((handler.command, handler.path, login))
        if self.wants_login and not login:
            self._send(handler, 401, {"WWW-Authenticate": 'Basic realm="cve"'}, b"")
            return
        if handler.path.rstrip("/") == "/v2":
            self._send(handler, 200, {}, b"{}")
            return
        kind, data = self._documents.get(handler.path, ("", b""))
        if not kind:
            self._send(handler, 404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
            return
        self._send(handler, 200, {"Content-Type": kind, "Docker-Content-Digest": digest_of(data)}, data)

    def _send(self, handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            try:
                handler.wfile.write(body)
            except OSError:
                # Who asked has seen enough.
                handler.close_connection = True

    def serve(self, path: str, kind: str, data: bytes) -> None:
        self._documents[path] = (kind, data)

    def blob(self, name: str, data: bytes, kind: str) -> dict[str, Any]:
        """Serve a blob; its descriptor."""
        digest = digest_of(data)
        self.serve(f"/v2/{name}/blobs/{digest}", "application/octet-stream", data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def publish(
        self,
        name: str,
        layers: Sequence[bytes],
        run: Mapping[str, object] | None = None,
        *,
        change: Callable[[dict[str, Any]], object] | None = None,
        config: bytes | None = None,
        compress: bool = True,
    ) -> str:
        """Serve an image of these uncompressed layers under NAME:latest; the reference to pull.

        `run` is the `config` part of its configuration, `config` replaces the whole of it, `change` gets the manifest
        before it is served.
        """
        diff_ids = [digest_of(layer) for layer in layers]
        document = {
            "created": "2024-01-01T00:00:00Z",
            "architecture": host_platform().architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], **(run or {})},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        body = config if config is not None else json.dumps(document).encode()
        packed = [gzip.compress(layer, 1) if compress else layer for layer in layers]
        kind = LAYER if compress else LAYER.removesuffix("+gzip")
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(name, body, CONFIG),
            "layers": [self.blob(name, layer, kind) for layer in packed],
        }
        if change is not None:
            change(manifest)
        return self.publish_manifest(name, json.dumps(manifest).encode(), manifest.get("mediaType", MANIFEST))

    def publish_manifest(self, name: str, data: bytes, kind: str = MANIFEST) -> str:
        """Serve any bytes as the manifest of NAME:latest."""
        for tag in ("latest", digest_of(data)):
            self.serve(f"/v2/{name}/manifests/{tag}", kind, data)
        return f"{self.host}/{name}:latest"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
