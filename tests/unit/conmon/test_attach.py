"""Attach clients and the container's stdin over real sockets and pipes, in a loop that the test turns."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.conmon.attach import MAX_QUEUED, PACKET_DATA, STDERR, STDOUT, AttachServer
from crio.conmon.connection import connect
from crio.conmon.loop import READ, Loop
from crio.conmon.sockets import MAX_CLIENTS, listen
from crio.conmon.stdin import ContainerInput


class Server:
    def __init__(self, directory: str, *, stdin_once: bool = False) -> None:
        self.loop = Loop()
        self.directory = directory
        self.stdin_read, stdin_write = os.pipe()
        os.set_blocking(self.stdin_read, False)
        self.stdin = ContainerInput(self.loop, stdin_write)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        listen(listener, directory, "attach")
        self.loop.add(listener.fileno(), READ, lambda _events: None)
        self.server = AttachServer(self.loop, listener, self.stdin, stdin_once=stdin_once)

    def client(self) -> socket.socket:
        sock = connect(self.directory, "attach")
        self.turn()
        return sock

    def turn(self) -> None:
        while self.loop.turn(0.02):
            pass

    def stdin_data(self) -> bytes:
        """What the container would read; b"" at its end, BlockingIOError while there is nothing."""
        return os.read(self.stdin_read, 1 << 20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(str(tmp_path))
    yield server
    server.server.close()
    os.close(server.stdin_read)


def test_output_goes_to_all_in_packets_of_8192_bytes(server: Server) -> None:
    with server.client() as one, server.client() as two:
        server.server.broadcast(STDOUT, b"x" * (PACKET_DATA + 1))
        server.server.broadcast(STDERR, b"e")
        for client in (one, two):
            assert client.recv(65536) == b"\x02" + b"x" * PACKET_DATA
            assert client.recv(65536) == b"\x02x"
            assert client.recv(65536) == b"\x03e"


def test_slow_client_gets_a_queue_then_a_note_and_then_what_is_new(server: Server) -> None:
    with server.client() as slow, server.client() as quick:
        total = 0
        for number in range(400):
            server.server.broadcast(STDOUT, b"%08d" % number * 1024)
            assert quick.recv(65536)[1:9] == b"%08d" % number
            total += PACKET_DATA
        assert server.server.pending()
        received = []
        while server.server.pending():
            received.append(slow.recv(65536))
            server.turn()
        server.server.broadcast(STDOUT, b"new")
        slow.settimeout(60)
        while received[-1] != b"\x02new":
            received.append(slow.recv(65536))
        note = received[-2]
        data = sum(len(packet) - 1 for packet in received[:-2])
        assert MAX_QUEUED <= data < total
        assert note.startswith(b"\x02\r\n[%d bytes of output were skipped here because" % (total - data))


def test_small_pieces_that_wait_are_joined(server: Server) -> None:
    with server.client() as slow:
        while not server.server.pending():
            server.server.broadcast(STDOUT, b"x" * PACKET_DATA)
        for _ in range(10_000):
            server.server.broadcast(STDOUT, b"o")
        server.server.broadcast(STDERR, b"e")
        server.server.broadcast(STDOUT, b"p")
        packets: list[bytes] = []
        while not packets or packets[-1] != b"\x02p":
            try:
                packets.append(slow.recv(65536))
            except BlockingIOError:
                server.turn()
        assert b"".join(packet[1:] for packet in packets).lstrip(b"x") == b"o" * 10_000 + b"ep"
        assert len([packet for packet in packets if packet[1:2] == b"o"]) == 2


def test_client_that_leaves_is_forgotten(server: Server) -> None:
    client = server.client()
    assert server.server.count == 1
    client.close()
    server.turn()
    assert server.server.count == 0
    server.server.broadcast(STDOUT, b"x")
    assert not server.server.pending()


def test_clients_are_bounded(server: Server) -> None:
    clients = [server.client() for _ in range(MAX_CLIENTS)]
    with server.client() as one_more:
        assert one_more.recv(10) == b""
    assert server.server.count == MAX_CLIENTS
    for client in clients:
        client.close()


def test_input_goes_to_stdin(server: Server) -> None:
    with server.client() as one, server.client() as two:
        one.send(b"a")
        server.turn()
        two.send(b"b")
        server.turn()
        assert server.stdin_data() == b"ab"


def test_container_that_does_not_read_holds_back_its_clients(server: Server) -> None:
    with server.client() as client:
        sent = 0
        client.setblocking(False)
        try:
            while sent < 10_000_000:
                sent += client.send(b"y" * PACKET_DATA)
                server.turn()
        except BlockingIOError:
            pass
        assert sent < 1_000_000
        read = 0
        while read < sent:
            read += len(server.stdin_data())
            server.turn()
        client.send(b"more")
        server.turn()
        assert server.stdin_data() == b"more"


def test_stdin_once(tmp_path: Path) -> None:
    server = Server(str(tmp_path), stdin_once=True)
    server.client().close()
    server.turn()
    assert server.stdin.is_open
    with server.client() as client:
        client.send(b"all")
        client.shutdown(socket.SHUT_WR)
        server.turn()
        assert server.stdin_data() == b"all"
        assert server.stdin_data() == b""
        server.server.broadcast(STDOUT, b"still served")
        assert client.recv(100) == b"\x02still served"
    server.server.close()
    os.close(server.stdin_read)


def test_stdin_that_the_container_has_closed(server: Server) -> None:
    os.close(server.stdin_read)
    with server.client() as client:
        client.send(b"nobody")
        server.turn()
        assert not server.stdin.is_open
        client.send(b"more")
        server.turn()
    server.stdin_read = os.open("/dev/null", os.O_RDONLY)


def test_stdin_closes_after_what_was_written(server: Server) -> None:
    server.stdin.write(b"z" * 500_000)
    server.stdin.close()
    assert not server.stdin.is_open
    read = 0
    while chunk := server.stdin_data():
        read += len(chunk)
        server.turn()
    assert read == 500_000


def test_path_may_be_longer_than_a_socket_address(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    server = Server(str(directory))
    with server.client():
        assert server.server.count == 1
        assert (directory / "attach").stat().st_mode & 0o777 == 0o600
    server.server.close()
    os.close(server.stdin_read)
