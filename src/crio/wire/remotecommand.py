"""What Kubernetes carries over SPDY and WebSocket for exec, attach and port-forward: names, channels, documents.

Pure data, no I/O. Versions of the exec and attach protocol, each on top of the one before:
1 and 2: streams stdin, stdout, stderr and error, whose text is an error message; 3: resize; 4: the error stream carries
a Status object as JSON; 5 (WebSocket only): a message that closes one channel.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from crio.base.regex import regex

SPDY = "SPDY/3.1"
VERSION_HEADER = "X-Stream-Protocol-Version"
ACCEPTED_HEADER = "X-Accepted-Stream-Protocol-Versions"

EXEC_SPDY = {"v4.channel.k8s.io": 4, "v3.channel.k8s.io": 3, "v2.channel.k8s.io": 2, "channel.k8s.io": 1}
"""Protocol names over SPDY and their versions."""

PORT_FORWARD_SPDY = "portforward.k8s.io"


class WebSocketProtocol(msgspec.Struct, frozen=True):
    """How channels are carried in messages. `base64`: in text messages, the channel as a digit, the data encoded."""

    version: int
    base64: bool


EXEC_WEBSOCKET = {
    "v5.channel.k8s.io": WebSocketProtocol(5, False),
    "v4.channel.k8s.io": WebSocketProtocol(4, False),
    "v4.base64.channel.k8s.io": WebSocketProtocol(4, True),
    "channel.k8s.io": WebSocketProtocol(1, False),
    "base64.channel.k8s.io": WebSocketProtocol(1, True),
    "": WebSocketProtocol(1, False),
}
PORT_FORWARD_WEBSOCKET = {
    "v4.channel.k8s.io": WebSocketProtocol(4, False),
    "v4.base64.channel.k8s.io": WebSocketProtocol(4, True),
    "": WebSocketProtocol(4, False),
}
TUNNEL_PREFIX = "SPDY/3.1+"
"""A WebSocket whose binary messages carry a SPDY connection; the name of the SPDY protocol follows."""

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
"""Channel numbers in WebSocket messages."""
CLOSE_CHANNEL = 255
"""Version 5: the next byte is the number of a channel whose sender has reached its end."""

STREAM_TYPE, PORT, REQUEST_ID = "streamtype", "port", "requestid"
"""Headers of SPDY streams."""
_MAX_DOCUMENT = 4096
_NO_SPACE = regex(r"[^ \r\n\t]")


def negotiate(offered: Sequence[str], served: Sequence[str]) -> str | None:
    """The first protocol that the client offers and we serve."""
    return next((name for name in offered if name in served), None)


class Size(msgspec.Struct, frozen=True):
    """A terminal's size in characters."""

    height: int
    width: int


class SizeReader:
    """Reads the resize stream: JSON objects one after the other, cut anywhere. What is not a size is skipped."""

    def __init__(self) -> None:
        self._text = ""
        self._decoder = json.JSONDecoder()

    def feed(self, data: bytes) -> list[Size]:
        text, position = self._text + data.decode("latin-1"), 0
        sizes: list[Size] = []
        while match := _NO_SPACE.search(text, position):
            try:
                document, position = self._decoder.raw_decode(text, match.start())
            except (ValueError, RecursionError):
                # It is not complete, no JSON, or a number with more digits than Python reads.
                break
            if isinstance(document, dict):
                width, height = document.get("Width"), document.get("Height")
                if type(width) is int and type(height) is int and 0 < width < 65536 and 0 < height < 65536:
                    sizes.append(Size(height, width))
        self._text = text[position:] if len(text) - position <= _MAX_DOCUMENT else ""
        return sizes


def encode_size(size: Size) -> bytes:
    """A size as a client sends it."""
    return json.dumps({"Width": size.width, "Height": size.height}).encode() + b"\n"


class Outcome(msgspec.Struct, frozen=True):
    """How a session ended: with an exit code, or with an error's text (and then `exit_code` is None)."""

    exit_code: int | None
    message: str = ""


SUCCESS = Outcome(0)


def encode_outcome(outcome: Outcome, version: int) -> bytes:
    """What goes on the error stream. Up to version 3 that is text, and nothing for success."""
    if outcome.exit_code == 0:
        return b'{"metadata":{},"status":"Success"}' if version >= 4 else b""
    if outcome.exit_code is None:
        reason = "InternalError"
        causes = [{"message": outcome.message}]
        message = f"Internal error occurred: {outcome.message}"
    else:
        reason = "NonZeroExitCode"
        causes = [{"reason": "ExitCode", "message": str(outcome.exit_code)}]
        message = f"command terminated with non-zero exit code: exit status {outcome.exit_code}"
    if version < 4:
        return message.encode()
    status: dict[str, object] = {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": {"causes": causes},
    }
    if outcome.exit_code is None:
        status["code"] = 500
    return json.dumps(status, separators=(",", ":")).encode()


def decode_outcome(data: bytes) -> Outcome:
    """The outcome that a server wrote on the error stream in any version, for clients."""
    if not data.strip():
        return SUCCESS
    try:
        status = json.loads(data)
        if status.get("status") == "Success":
            return SUCCESS
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode":
                return Outcome(int(cause["message"]), str(status.get("message", "")))
        return Outcome(None, str(status.get("message", "")))
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return Outcome(None, data.decode("utf-8", "replace"))
