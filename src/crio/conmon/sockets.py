"""The monitor's listening sockets: where they are, and who may connect."""

from __future__ import annotations

import os
import socket

MAX_CLIENTS = 32
"""Connections that one socket serves at a time; more are closed at once."""


def accept(listener: socket.socket, clients: int) -> socket.socket | None:
    """The next client, non-blocking; None if it may not connect, has gone, or there are too many `clients` already."""
    try:
        sock, _ = listener.accept()
    except OSError:
        return None
    if clients >= MAX_CLIENTS or not peer_may_connect(sock):
        sock.close()
        return None
    sock.setblocking(False)
    return sock


def peer_may_connect(sock: socket.socket) -> bool:
    """Only root and the user that this process runs as (SO_PEERCRED), whatever the socket file's mode is."""
    peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(peer[4:8], "little") in (0, os.geteuid())


def listen(sock: socket.socket, directory: str, name: str) -> None:
    """Make an unbound SEQPACKET socket listen as `name`, mode 0600, in `directory`.

    The directory's path may be longer than a socket address can be.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{fd}/{name}"
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        old = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(old)
        sock.listen(MAX_CLIENTS)
    finally:
        os.close(fd)
