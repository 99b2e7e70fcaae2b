"""Servers in a pod and clients on the host or in another pod, to see whether ports lead where they should."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from crio.linux.namespaces import run_in_netns

TIMEOUT = 15.0
"""Seconds. Where nothing leads to a server the answer is mostly a refusal, and at once."""


@contextmanager
def tcp_server(netns: str, port: int, answer: bytes) -> Iterator[None]:
    """Answers each connection in the namespace with the client's address and `answer`, on both families."""

    def listen() -> socket.socket:
        made = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        made.settimeout(0.1)
        return made

    server, stop = run_in_netns(netns, listen), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, peer = server.accept()
            except TimeoutError:
                continue
            # A client may have left already.
            with connection, contextlib.suppress(OSError):
                connection.sendall(answer + b" " + str(peer[0]).encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        server.close()


@contextmanager
def udp_server(netns: str, port: int, answer: bytes) -> Iterator[None]:
    """Answers each IPv4 datagram in the namespace."""

    def bind() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", port))
        made.settimeout(0.1)
        return made

    server, stop = run_in_netns(netns, bind), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                _, peer = server.recvfrom(100)
            except TimeoutError:
                continue
            server.sendto(answer, peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        server.close()


def ask(host: str, port: int, netns: str | None = None, *, timeout: float = TIMEOUT) -> bytes | None:
    """What a TCP server says, without the client's address, or None if it can't be reached."""

    def work() -> bytes | None:
        try:
            with socket.create_connection((host, port), timeout) as connection:
                return connection.recv(200).split(b" ")[0]
        except OSError:
            return None

    return run_in_netns(netns, work) if netns else work()


def ask_udp(client: socket.socket, host: str, port: int) -> bytes | None:
    """What a UDP server answers to this socket."""
    client.settimeout(TIMEOUT)
    client.sendto(b"?", (host, port))
    try:
        return client.recv(100)
    except OSError:
        return None
