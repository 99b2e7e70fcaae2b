from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from crio.base import tls
from crio.streaming.stream import PlainStream, TlsStream


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


def certificate(directory: Path) -> tuple[str, str]:
    cert, key = str(directory / "cert.pem"), str(directory / "key.pem")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", "/CN=localhost", "-keyout", key, "-out", cert]
    subprocess.run(argv, check=True, capture_output=True)
    return cert, key


async def read_exactly(stream: PlainStream | TlsStream, size: int) -> bytes:
    buffer = memoryview(bytearray(65536))
    data = b""
    while len(data) < size and (got := await stream.read_into(buffer)):
        data += buffer[:got]
    return data


async def test_parts_are_written_whole_however_slow_the_reader() -> None:
    near, far = tcp_pair()
    stream, other = PlainStream(near), PlainStream(far)
    parts = [os.urandom(size) for size in (1, 0, 3_000_000, 10, 2_000_000)]
    writing = asyncio.create_task(stream.write(*parts))
    assert await read_exactly(other, 5_000_011) == b"".join(parts)
    await writing
    await stream.write_end()
    assert await other.read_into(memoryview(bytearray(10))) == 0
    assert other.peer_has_left()
    stream.close()
    other.close()


async def test_cancelled_write_is_finished_by_the_next() -> None:
    near, far = tcp_pair()
    stream, other = PlainStream(near), PlainStream(far)
    buffer = bytearray(b"x" * 20_000_000)
    writing = asyncio.create_task(stream.write(b"head", memoryview(buffer)))
    await asyncio.sleep(0.05)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert writing.cancelled()
    buffer[:] = b"y" * len(buffer)  # whoever was cancelled uses its buffer again
    reading = asyncio.create_task(read_exactly(other, 20_000_008))
    await stream.write(b"next")
    assert await reading == b"head" + b"x" * 20_000_000 + b"next"
    stream.close()
    other.close()


async def test_peer_that_has_left_is_seen_behind_unread_data() -> None:
    near, far = tcp_pair()
    stream = PlainStream(near)
    assert not stream.peer_has_left()
    far.send(b"unread")
    far.close()
    while not stream.peer_has_left():
        await asyncio.sleep(0.001)
    stream.close()


async def tls_client(sock: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return await asyncio.open_connection(sock=sock, ssl=context, server_hostname="localhost")


async def test_tls_carries_both_directions(tmp_path: Path) -> None:
    near, far = tcp_pair()
    stream = TlsStream(PlainStream(near), tls.server_context(*certificate(tmp_path)))
    (reader, writer), _ = await asyncio.gather(tls_client(far), stream.handshake())
    data = os.urandom(3_000_000)
    writing = asyncio.create_task(stream.write(b"head", data, b"tail"))
    assert await reader.readexactly(len(data) + 8) == b"head" + data + b"tail"
    await writing
    writer.write(data)
    assert await read_exactly(stream, len(data)) == data
    await stream.write_end()
    assert await reader.read() == b""
    writer.close()
    stream.close()


async def test_tls_finishes_a_cancelled_write(tmp_path: Path) -> None:
    near, far = tcp_pair()
    stream = TlsStream(PlainStream(near), tls.server_context(*certificate(tmp_path)))
    (reader, writer), _ = await asyncio.gather(tls_client(far), stream.handshake())
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writing = asyncio.create_task(stream.write(b"x" * 20_000_000))
    await asyncio.sleep(0.1)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert writing.cancelled()
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    reading = asyncio.create_task(reader.readexactly(20_000_004))
    await stream.write(b"next")
    assert await reading == b"x" * 20_000_000 + b"next"
    writer.close()
    stream.close()


async def test_client_without_tls_is_refused(tmp_path: Path) -> None:
    near, far = tcp_pair()
    stream = TlsStream(PlainStream(near), tls.server_context(*certificate(tmp_path)))
    far.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(OSError, match=r"(?i)http"):
        await stream.handshake()
    far.close()
    stream.close()
