"""Calls of the daemon's inspect endpoints: HTTP/1.1 over its unix socket."""

from __future__ import annotations

import http.client
import socket
from typing import Any

from crio.base.errors import Internal, NotFound, ResourceExhausted, Unavailable

MAX_ANSWER = 64 << 20
TIMEOUT = 30.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def get(path: str, target: str) -> bytes:
    """The body of GET `target` from the daemon that listens at `path`.

    Raises Unavailable if no daemon answers there within half a minute, NotFound for 404, Internal for other failures.
    """
    path = path.removeprefix("unix://")
    connection = _Connection(path)
    try:
        connection.request("GET", target, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(MAX_ANSWER + 1)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unavailable(f"cannot reach the daemon at {path}: {reason}; is crio running?") from None
    finally:
        connection.close()
    if len(body) > MAX_ANSWER:
        raise ResourceExhausted(f"cannot read {target} of the daemon: the answer is longer than {MAX_ANSWER} bytes")
    if answer.status != http.client.OK:
        text = " ".join(body[:2048].decode("utf-8", "replace").split()) or answer.reason
        kind = NotFound if answer.status == http.client.NOT_FOUND else Internal
        raise kind(f"cannot get {target} from the daemon: {text}")
    return body


def get_json(path: str, target: str) -> Any:
    """As `get`, decoded. Raises Internal if it is no JSON object."""
    import json

    try:
        value = json.loads(get(path, target))
    except ValueError as error:
        raise Internal(f"cannot read {target} of the daemon: {error}") from None
    if not isinstance(value, dict):
        raise Internal(f"cannot read {target} of the daemon: it is no object")
    return value
