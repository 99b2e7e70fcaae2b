"""What the streaming server drives: handed in by who owns containers and pods."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from crio.wire.remotecommand import Size


class Process(Protocol):
    """A process started for one client. Its descriptors are non-blocking, and the session closes them."""

    stdin: int
    """Is written to; -1 if there is none."""
    stdout: int
    """Is read from; -1 if there is none. With a terminal it is the master side, and `stdin` the same or a duplicate."""
    stderr: int

    async def resize(self, size: Size) -> None:
        """Tell the terminal its size."""

    async def wait(self) -> int:
        """The exit code (128 + n for signal n), once the process has ended."""

    async def close(self) -> None:
        """The session is over, with the process or because its client has gone while it runs. Its descriptors are
        closed already: a process with a terminal has been hung up on, others get SIGPIPE when they write."""


class Attachment(Protocol):
    """A connection to a container that runs."""

    socket: socket.socket
    """Non-blocking SOCK_SEQPACKET with conmon's attach framing: a packet is a byte (2 stdout, 3 stderr) and output of
    at most 8192 bytes; what is sent is stdin, and its end is shutdown(SHUT_WR)."""

    async def resize(self, size: Size) -> None:
        """Tell the container's terminal its size."""

    async def close(self) -> None:
        """The session is over; its socket is closed already."""


class Executor(Protocol):
    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> Process:
        """Start a command in a container. Raises CrioError."""


class Attacher(Protocol):
    async def attach(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> Attachment:
        """Connect to a container's streams. Raises CrioError."""


class PortForwarder(Protocol):
    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        """A non-blocking TCP connection to `port` on the pod's localhost; the caller closes it. Raises CrioError."""


class Services(msgspec.Struct, frozen=True):
    """What sessions are joined to, and their limits in seconds."""

    executor: Executor
    attacher: Attacher
    port_forwarder: PortForwarder
    idle_timeout: float
    creation_timeout: float
