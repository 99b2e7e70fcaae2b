"""The door: tokens, requests, TLS, and clients that mean harm."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument, ResourceExhausted, Unavailable
from crio.streaming import server as server_module
from crio.streaming.refusals import MOST
from crio.streaming.server import StreamingServer, TlsFiles
from crio.wire import websocket
from crio.wire.http1 import HttpError
from crio.wire.spdy import dictionary
from log_records import of_crio
from streaming_bed import Bed, Command, LocalAttacher, LocalExecutor, LocalForwarder

V5 = "v5.channel.k8s.io"
UPGRADE = [("Host", "n"), ("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


async def test_token_is_used_up_by_its_first_use() -> None:
    async with Bed() as bed:
        url = bed.exec_url("true")
        assert (await (await Command.over_websocket(bed, url, V5)).finish()).exit_code == 0
        headers = websocket.request_headers("n", websocket.new_key(), [V5])
        response, *_ = await bed.request(url, headers)
        assert response.status == 404


@pytest.mark.parametrize(
    "path", ["/", "/exec/", "/exec/guess", "/attach/guess", "/other/x", "/exec/%2e%2e", "/metrics"]
)
async def test_unknown_addresses_are_not_found(path: str) -> None:
    async with Bed() as bed:
        response, *_ = await bed.request(bed.server.base_url + path, UPGRADE)
        assert response.status == 404


async def test_token_is_for_its_kind_only() -> None:
    async with Bed() as bed:
        url = bed.exec_url("true")
        response, *_ = await bed.request(url.replace("/exec/", "/attach/"), UPGRADE)
        assert response.status == 404


async def test_other_methods_are_refused_and_keep_the_token() -> None:
    async with Bed() as bed:
        url = bed.exec_url("true")
        response, *_ = await bed.request(url, UPGRADE, method="DELETE")
        assert response.status == 405
        assert (await (await Command.over_websocket(bed, url, V5)).finish()).exit_code == 0


async def test_addresses() -> None:
    async with Bed() as bed:
        base = f"http://127.0.0.1:{bed.server.base_url.rpartition(':')[2]}/"
        assert bed.exec_url("x").startswith(base + "exec/")
        assert bed.attach_url().startswith(base + "attach/")
        assert bed.server.port_forward_url("p", [80]).startswith(base + "portforward/")
        assert bed.server.statistics()["tokens"] == 3


async def test_impossible_requests_get_no_address() -> None:
    async with Bed() as bed:
        with pytest.raises(InvalidArgument, match="empty"):
            bed.server.exec_url("c", [], tty=False, stdin=False, stdout=True, stderr=True)
        with pytest.raises(InvalidArgument, match="one of stdin"):
            bed.server.attach_url("c", tty=False, stdin=False, stdout=False, stderr=False)
        with pytest.raises(InvalidArgument, match="65536"):
            bed.server.port_forward_url("p", [65536])
        for _ in range(1000):
            bed.exec_url("x")
        with pytest.raises(ResourceExhausted):
            bed.exec_url("x")


def new_server(address: str, port: int = 0) -> StreamingServer:
    return StreamingServer(
        executor=LocalExecutor(),
        attacher=LocalAttacher(),
        port_forwarder=LocalForwarder(),
        address=address,
        port=port,
    )


@pytest.mark.parametrize(
    ("address", "host"), [("::1", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("", "127.0.0.1")]
)
async def test_listening_addresses(address: str, host: str) -> None:
    server = new_server(address)
    with pytest.raises(Unavailable):
        server.port_forward_url("p", [])
    await server.start()
    assert server.base_url.startswith(f"http://{host}:")
    await server.stop()


async def test_address_that_cannot_be_used() -> None:
    with pytest.raises(InvalidArgument, match="no IP address"):
        await new_server("node.example").start()
    async with Bed() as bed:
        port = int(bed.server.base_url.rpartition(":")[2])
        with pytest.raises(Unavailable, match="in use"):
            await new_server("127.0.0.1", port).start()


async def test_stop_ends_sessions() -> None:
    bed = Bed()
    async with bed:
        command = await Command.over_websocket(bed, bed.exec_url("sleep", "60"), V5)
        while not bed.executor.processes:
            await asyncio.sleep(0.01)
        await bed.server.stop()
        await command.client.read_until_closed()
        assert bed.executor.processes[0].closed.is_set()
        assert bed.server.statistics()["sessions"] == 0


# -- clients that mean harm


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /exec/x HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 20_000, b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"POST /exec/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
    ],
)
async def test_bad_requests_are_answered_and_closed(data: bytes, status: bytes) -> None:
    async with Bed() as bed:
        reader, writer = await bed.dial(bed.server.base_url)
        writer.write(data)
        assert (await reader.read()).startswith(b"HTTP/1.1 " + status)


async def test_guessing_finds_nothing_uses_nothing_up_and_is_logged_in_bounds(caplog: pytest.LogCaptureFixture) -> None:
    async with Bed() as bed:
        url = bed.exec_url("true")
        for number in range(200):
            response, *_, writer, _ = await bed.request(f"{bed.server.base_url}/exec/guess-{number:04}", UPGRADE)
            assert response.status == 404
            writer.close()
        refused = [record for record in caplog.records if "refused" in record.getMessage()]
        assert len(refused) == MOST
        assert (await (await Command.over_websocket(bed, url, V5)).finish()).exit_code == 0


async def test_address_that_looks_like_a_host_is_one_more_guess(caplog: pytest.LogCaptureFixture) -> None:
    async with Bed() as bed:
        for _ in range(2 * MOST):
            reader, writer = await bed.dial(bed.server.base_url)
            writer.write(b"GET //[ HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
            writer.close()
        assert len([record for record in of_crio(caplog) if record.levelno >= logging.WARNING]) == MOST


@pytest.mark.parametrize(
    "first",
    [
        b"POST /exec/guess HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST /exec/guess HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /exec/guess HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /exec/guess HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"GET /exec/guess HTTP/1.1\r\nHost: a\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_request_behind_a_refused_one_is_never_served(first: bytes) -> None:
    """Request smuggling: whatever stands behind a request that an intermediary might have ended elsewhere."""
    async with Bed() as bed:
        url = bed.exec_url("true")
        reader, writer = await bed.dial(url)
        path = url.removeprefix(bed.server.base_url).encode()
        hidden = b"POST %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" % path
        writer.write(first + hidden + b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 60)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert not answer.startswith(b"HTTP/1.1 101")
        writer.close()
        assert bed.server.statistics()["tokens"] == 1


async def test_header_bomb_costs_no_memory() -> None:
    async with Bed() as bed:
        deflate = zlib.compressobj(9, zdict=dictionary())
        packed = deflate.compress(bytes(50_000_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)
        before = resident_kib()
        for _ in range(10):
            client = await bed.spdy(bed.exec_url("sleep", "60"), "v4.channel.k8s.io")
            block = b"\0\0\0\1\0\0\0\0\0\0" + packed
            client.writer.write(struct.pack(">HHI", 0x8003, 1, len(block)) + block)
            await asyncio.wait_for(client.read_until_closed(), 60)
        assert resident_kib() - before < 16 * 1024


async def test_request_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "OPENING_TIMEOUT", 0.05)
    async with Bed() as bed:
        reader, writer = await bed.dial(bed.server.base_url)
        writer.write(b"GET /exec/x HTTP/1.1\r\n")
        assert await asyncio.wait_for(reader.read(), 60) == b""


async def test_half_open_connections_do_not_shut_others_out() -> None:
    async with Bed() as bed:
        address = bed.server.base_url.removeprefix("http://").rpartition(":")
        silent: list[socket.socket] = []
        for _ in range(1500):
            silent.append(socket.create_connection((address[0], int(address[2]))))
            if len(silent) % 50 == 0:
                await asyncio.sleep(0)
        url = bed.exec_url("echo", "still here")
        command = await Command.over_websocket(bed, url, V5)
        assert (await command.finish()).exit_code == 0
        assert bed.server.statistics()["opening"] <= server_module.MAX_OPENING
        for sock in silent:
            sock.close()


async def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_SESSIONS", 1)
    async with Bed() as bed:
        await Command.over_websocket(bed, bed.exec_url("sleep", "60"), V5)
        response, *_ = await bed.request(bed.exec_url("true"), UPGRADE)
        assert response.status == 503


async def test_client_that_never_reads_costs_bounded_memory() -> None:
    async with Bed() as bed:
        await Command.over_spdy(bed, bed.exec_url("cat", "/dev/zero"), "v4.channel.k8s.io", "stdout", "stderr")
        await asyncio.sleep(0.2)
        before = resident_kib()
        await asyncio.sleep(0.5)
        assert resident_kib() - before < 4096


async def pour(command: Command) -> None:
    command.client.writer.transport.set_write_buffer_limits(high=1 << 18)
    for _ in range(10_000):
        command.send("stdin", bytes(100_000))
        await command.client.writer.drain()


async def test_process_that_never_reads_costs_bounded_memory() -> None:
    async with Bed() as bed:
        url = bed.exec_url("sleep", "60", stdin=True)
        command = await Command.over_websocket(bed, url, V5)
        before = resident_kib()
        sending = asyncio.create_task(pour(command))
        await asyncio.sleep(1)
        assert not sending.done()
        sending.cancel()
        assert resident_kib() - before < 32 * 1024
        # Its client leaves while nobody reads what it sent.
        connection = command.client.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        command.client.writer.transport.abort()
        await asyncio.wait_for(bed.executor.processes[0].closed.wait(), 60)


async def write_again_and_again(writer: asyncio.StreamWriter, data: bytes) -> None:
    for _ in range(400):
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0)


async def test_client_that_only_pings_and_never_reads_is_dropped() -> None:
    async with Bed() as bed:
        client = await bed.spdy(bed.exec_url("sleep", "60"), "v4.channel.k8s.io")
        for _ in range(20_000):
            client.connection.ping()
        pings = client.connection.take_output()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(write_again_and_again(client.writer, pings), 60)


@pytest.mark.parametrize("data", [b"\x80\x03\0\x01\0\xff\xff\xff", b"\x80\x02\0\x01\0\0\0\0", b"\0\0\0\x63\0\0\0\1x"])
async def test_broken_spdy_ends_the_session(data: bytes) -> None:
    async with Bed() as bed:
        client = await bed.spdy(bed.exec_url("sleep", "60"), "v4.channel.k8s.io")
        client.writer.write(data)
        await asyncio.wait_for(client.read_until_closed(), 60)


@pytest.mark.parametrize("data", [b"\x82\x01a", b"\xff\x80\0\0\0\0", b"\x88\x81\0\0\0\0x"])
async def test_broken_websocket_ends_the_session_with_a_code(data: bytes) -> None:
    async with Bed() as bed:
        client = await bed.websocket(bed.exec_url("sleep", "60"), V5)
        client.writer.write(data)
        await asyncio.wait_for(client.read_until_closed(), 60)
        assert client.close_code == 1002


# -- TLS


class Authority:
    """Makes certificates with the openssl program."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self.cert, self.key = str(directory / f"{name}.pem"), str(directory / f"{name}.key")
        self.make(self.cert, self.key, name, [])

    def make(self, cert: str, key: str, name: str, extra: list[str]) -> None:
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        argv += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert, *extra]
        subprocess.run(argv, check=True, capture_output=True)

    def files(self, **options: object) -> TlsFiles:
        return TlsFiles(self.cert, self.key, **options)  # type: ignore[arg-type]


def trusting(authority: Authority, **options: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.cert)
    for name, value in options.items():
        setattr(context, name, value)
    return context


async def run_true(bed: Bed, context: ssl.SSLContext) -> str:
    command = await Command.over_spdy(
        bed, bed.exec_url("echo", "x"), "v4.channel.k8s.io", "stdout", "stderr", tls=context
    )
    assert (await command.finish()).exit_code == 0
    return str(command.client.writer.get_extra_info("ssl_object").version())


async def test_tls_and_certificates_that_change(tmp_path: Path) -> None:
    old = Authority(tmp_path, "old")
    async with Bed(tls_files=old.files()) as bed:
        assert bed.server.base_url.startswith("https://")
        assert await run_true(bed, trusting(old)) == "TLSv1.3"
        old_trust = trusting(old)
        new = Authority(tmp_path, "new")
        Path(old.key).write_text("half written")
        assert await run_true(bed, old_trust)
        Path(old.cert).write_bytes(Path(new.cert).read_bytes())
        Path(old.key).write_bytes(Path(new.key).read_bytes())
        assert await run_true(bed, trusting(new))
        with pytest.raises(ssl.SSLError):
            await run_true(bed, old_trust)


async def test_client_certificates(tmp_path: Path) -> None:
    node, clients = Authority(tmp_path, "node"), Authority(tmp_path, "clients")
    async with Bed(tls_files=node.files(client_ca=clients.cert)) as bed:
        with pytest.raises((OSError, HttpError)):
            await run_true(bed, trusting(node))
        known = trusting(node)
        known.load_cert_chain(clients.cert, clients.key)
        await run_true(bed, known)


async def test_lowest_version(tmp_path: Path) -> None:
    node = Authority(tmp_path, "node")
    async with Bed(tls_files=node.files(min_version="VersionTLS13")) as bed:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await run_true(bed, trusting(node, maximum_version=ssl.TLSVersion.TLSv1_2))
    async with Bed(tls_files=node.files(cipher_suites=("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",))) as bed:
        assert await run_true(bed, trusting(node, maximum_version=ssl.TLSVersion.TLSv1_2)) == "TLSv1.2"


async def test_plain_client_of_a_tls_server(tmp_path: Path) -> None:
    async with Bed(tls_files=Authority(tmp_path, "node").files()) as bed:
        reader, writer = await bed.dial(bed.server.base_url)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not (await reader.read()).startswith(b"HTTP")


async def test_certificate_that_is_not_there(tmp_path: Path) -> None:
    server = StreamingServer(
        executor=LocalExecutor(),
        attacher=LocalAttacher(),
        port_forwarder=LocalForwarder(),
        tls_files=TlsFiles(str(tmp_path / "none"), str(tmp_path / "none")),
    )
    with pytest.raises(InvalidArgument, match="certificate"):
        await server.start()
