"""The requests that wait behind tokens until their client comes."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec

from crio.base.errors import InvalidArgument, ResourceExhausted

TOKEN_LIFETIME = 60.0
MAX_WAITING = 1000


class CommandRequest(msgspec.Struct, frozen=True):
    """Exec, or attach if there is no command."""

    container_id: str
    command: tuple[str, ...]
    tty: bool
    stdin: bool
    stdout: bool
    stderr: bool

    def __post_init__(self) -> None:
        if self.tty and self.stderr:
            raise InvalidArgument("cannot stream: tty and stderr cannot both be true; a terminal has one output")
        if not (self.stdin or self.stdout or self.stderr):
            raise InvalidArgument("cannot stream: one of stdin, stdout, or stderr must be set")


class PortForwardRequest(msgspec.Struct, frozen=True):
    sandbox_id: str
    ports: tuple[int, ...]
    """The ports for WebSocket clients; those of SPDY clients name one with each stream."""


Request = CommandRequest | PortForwardRequest


class Tokens:
    """Requests by unguessable tokens of 22 characters, each good for one use within `TOKEN_LIFETIME` seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[str, tuple[float, Request]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def issue(self, request: Request) -> str:
        """Raises ResourceExhausted while `MAX_WAITING` tokens are neither used nor expired."""
        now = self._clock()
        # All live equally long, so the oldest come first.
        while self._waiting and (oldest := next(iter(self._waiting))) and self._waiting[oldest][0] <= now:
            del self._waiting[oldest]
        if len(self._waiting) >= MAX_WAITING:
            raise ResourceExhausted(f"cannot stream: {MAX_WAITING} requests wait for their clients; try again later")
        token = secrets.token_urlsafe(16)
        self._waiting[token] = (now + TOKEN_LIFETIME, request)
        return token

    def redeem(self, token: str) -> Request | None:
        """The request behind a token, once; None if the token is unknown, used or expired."""
        expires, request = self._waiting.pop(token, (0.0, None))
        return request if expires > self._clock() else None
