"""Exec and attach through every protocol, with real processes and sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal

import pytest

from crio.streaming.refusals import MOST
from crio.wire.http1 import encode_request
from crio.wire.remotecommand import Outcome, Size, encode_size
from log_records import of_crio
from streaming_bed import Bed, Command, SpdyClient, TunnelReader, WebSocketClient

SPDY_PROTOCOLS = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"]
WEBSOCKET_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io"]
SCRIPT = "echo out; echo err >&2; exit 7"


async def start(bed: Bed, protocol: str, url: str, *kinds: str) -> Command:
    if protocol.startswith("tunnel:"):
        web = await bed.websocket(url, "SPDY/3.1+" + protocol.removeprefix("tunnel:"))
        pipe = TunnelReader(web)
        return await Command.over_spdy(bed, url, "", *kinds, client=SpdyClient(pipe, pipe))
    if protocol.startswith("spdy:"):
        return await Command.over_spdy(bed, url, protocol.removeprefix("spdy:"), *kinds)
    return await Command.over_websocket(bed, url, protocol)


FULL = ["spdy:v4.channel.k8s.io", "v5.channel.k8s.io", "v4.channel.k8s.io", "tunnel:v4.channel.k8s.io"]


@pytest.mark.parametrize("protocol", SPDY_PROTOCOLS)
async def test_exec_over_spdy(protocol: str) -> None:
    async with Bed() as bed:
        command = await Command.over_spdy(bed, bed.exec_url("sh", "-c", SCRIPT), protocol, "stdout", "stderr")
        outcome = await command.finish()
        assert (command.text("stdout"), command.text("stderr")) == (b"out\n", b"err\n")
        assert isinstance(command.client, SpdyClient)
        assert command.client.ended == command.client.replied == set(command.streams.values())
        if protocol.startswith("v4"):
            assert outcome.exit_code == 7
        else:
            assert outcome == Outcome(None, "command terminated with non-zero exit code: exit status 7")


@pytest.mark.parametrize("protocol", [*WEBSOCKET_PROTOCOLS, "base64.channel.k8s.io"])
async def test_exec_over_websocket(protocol: str) -> None:
    async with Bed() as bed:
        command = await Command.over_websocket(bed, bed.exec_url("sh", "-c", SCRIPT), protocol)
        outcome = await command.finish()
        assert (command.text("stdout"), command.text("stderr")) == (b"out\n", b"err\n")
        assert outcome.exit_code == (7 if protocol.startswith("v") else None)
        assert isinstance(command.client, WebSocketClient)
        assert command.client.close_code == 1000


async def test_websocket_without_a_protocol_is_binary() -> None:
    async with Bed() as bed:
        command = await Command.over_websocket(bed, bed.exec_url("echo", "x"))
        assert await command.finish() == Outcome(0)
        assert command.text("stdout") == b"x\n"


@pytest.mark.parametrize("protocol", FULL)
async def test_stdin_to_its_end(protocol: str) -> None:
    data = os.urandom(3_000_000)
    async with Bed() as bed:
        url = bed.exec_url("cat", stdin=True)
        command = await start(bed, protocol, url, "stdin", "stdout", "stderr")
        for position in range(0, len(data), 50_000):
            command.send("stdin", data[position : position + 50_000])
        await command.read_text("stdout", data[:1])
        if protocol == "v4.channel.k8s.io":  # has no way to end its input
            assert await command.client.read_bytes(1, len(data)) == data
        else:
            command.end_input()
            assert (await command.finish()).exit_code == 0
            assert command.text("stdout") == data


async def test_base64_stdin() -> None:
    async with Bed() as bed:
        url = bed.exec_url("head", "-c", "5", stdin=True)
        command = await Command.over_websocket(bed, url, "v4.base64.channel.k8s.io")
        command.send("stdin", b"hello")
        assert (await command.finish()).exit_code == 0
        assert command.text("stdout") == b"hello"


@pytest.mark.parametrize("protocol", FULL)
async def test_large_output_arrives_whole(protocol: str) -> None:
    async with Bed() as bed:
        url = bed.exec_url("head", "-c", "20000000", "/dev/zero")
        command = await start(bed, protocol, url, "stdout", "stderr")
        assert (await command.finish()).exit_code == 0
        assert command.text("stdout") == bytes(20_000_000)


@pytest.mark.parametrize("protocol", FULL)
async def test_terminal_with_resize(protocol: str) -> None:
    async with Bed() as bed:
        url = bed.exec_url("sh", "-c", "read line; stty size; echo got $line; exit 3", tty=True, stdin=True)
        command = await start(bed, protocol, url, "stdin", "stdout", "resize")
        command.send("resize", encode_size(Size(1, 1)) + encode_size(Size(33, 132)))
        while not bed.executor.processes or Size(33, 132) not in bed.executor.processes[0].sizes:
            await asyncio.sleep(0.01)
        command.send("stdin", b"word\n")
        assert (await command.finish()).exit_code == 3
        assert b"33 132\r\ngot word\r\n" in command.text("stdout")


async def test_terminal_before_version_3_has_no_resize() -> None:
    async with Bed() as bed:
        url = bed.exec_url("tty", tty=True, stdin=True)
        command = await Command.over_spdy(bed, url, "v2.channel.k8s.io", "stdin", "stdout")
        assert await command.finish() == Outcome(0)
        assert b"/dev/pts/" in command.text("stdout")


@pytest.mark.parametrize("protocol", FULL)
async def test_grandchild_that_holds_the_streams_does_not_hold_the_answer(protocol: str) -> None:
    async with Bed() as bed:
        url = bed.exec_url("sh", "-c", "sleep 60 & echo $!")
        command = await start(bed, protocol, url, "stdout", "stderr")
        assert (await command.finish()).exit_code == 0
        os.kill(int(command.text("stdout")), signal.SIGKILL)


@pytest.mark.parametrize("container", ["missing", "fault"])
@pytest.mark.parametrize("protocol", FULL)
async def test_command_that_cannot_be_started(protocol: str, container: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Bed() as bed:
        command = await start(bed, protocol, bed.exec_url("x", container=container), "stdout", "stderr")
        outcome = await command.finish()
        assert outcome.exit_code is None
        assert "error executing command in container: " in outcome.message
        assert ("cannot find container missing" if container == "missing" else "ZeroDivisionError") in outcome.message
        errors = [record for record in of_crio(caplog) if record.levelname == "ERROR"]
        assert len(errors) == (1 if container == "fault" else 0)


@pytest.mark.parametrize("protocol", FULL)
async def test_client_that_leaves_hangs_up(protocol: str) -> None:
    async with Bed() as bed:
        # One that reads could end by the error of its reading, before it gets the signal.
        url = bed.exec_url("sh", "-c", "echo ready; exec sleep 1000", tty=True, stdin=True)
        command = await start(bed, protocol, url, "stdin", "stdout", "resize")
        await command.read_text("stdout", b"ready")
        bed.writers[0].transport.abort()
        process = bed.executor.processes[0]
        await asyncio.wait_for(process.closed.wait(), 60)
        assert await process.wait() == 128 + signal.SIGHUP
        while bed.server.statistics()["sessions"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("protocol", FULL)
async def test_attach(protocol: str) -> None:
    async with Bed() as bed:
        command = await start(bed, protocol, bed.attach_url(), "stdin", "stdout", "stderr")
        command.send("stdin", b"to the container")
        while not bed.attacher.ends:
            await asyncio.sleep(0.01)
        end = bed.attacher.ends[0]
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(end, 100) == b"to the container"
        for packet in (b"\x02a", b"\x02b", b"\x03c", b"\x03", b"\x02d", b"\x07ignored", b"\x03" + b"e" * 8192):
            end.send(packet)
        await command.read_text("stderr", b"e" * 8192)
        assert (command.text("stdout"), command.text("stderr")) == (b"abd", b"c" + b"e" * 8192)
        if protocol != "v4.channel.k8s.io":
            command.end_input()
            assert await loop.sock_recv(end, 100) == b""
        end.close()
        assert await command.finish() == Outcome(0)
        assert bed.attacher.attachments[0].closed.is_set()


async def test_attach_resizes_and_ends_with_its_client() -> None:
    async with Bed() as bed:
        url = bed.attach_url(tty=True)
        command = await Command.over_websocket(bed, url, "v5.channel.k8s.io")
        command.send("resize", encode_size(Size(10, 20)))
        while not bed.attacher.attachments or not bed.attacher.attachments[0].sizes:
            await asyncio.sleep(0.01)
        command.client.writer.close()
        await asyncio.wait_for(bed.attacher.attachments[0].closed.wait(), 60)
        assert bed.attacher.ends[0].recv(100) == b""


async def test_attach_moves_much_output() -> None:
    async with Bed() as bed:
        command = await Command.over_spdy(bed, bed.attach_url(), "v4.channel.k8s.io", "stdin", "stdout", "stderr")
        reading = asyncio.create_task(command.finish())
        while not bed.attacher.ends:
            await asyncio.sleep(0.01)
        end, loop = bed.attacher.ends[0], asyncio.get_running_loop()
        for _ in range(1000):
            await loop.sock_sendall(end, b"\x02" + b"x" * 8192)
        end.close()
        await reading
        assert command.text("stdout") == b"x" * 8_192_000


async def test_client_with_flow_control_is_served_by_its_windows() -> None:
    async with Bed() as bed:
        url = bed.exec_url("head", "-c", "5000000", "/dev/zero")
        plain = await bed.spdy(url, "v4.channel.k8s.io")
        client = SpdyClient(plain.reader, plain.writer, plain._rest, keeps_windows=True)
        command = await Command.over_spdy(bed, url, "", "stdout", "stderr", client=client)
        assert (await command.finish()).exit_code == 0
        assert command.text("stdout") == bytes(5_000_000)


async def test_reset_of_stdin_is_the_end_of_input() -> None:
    async with Bed() as bed:
        url = bed.exec_url("cat", stdin=True)
        command = await Command.over_spdy(bed, url, "v4.channel.k8s.io", "stdin", "stdout", "stderr")
        command.send("stdin", b"abc")
        await command.read_text("stdout", b"abc")
        assert isinstance(command.client, SpdyClient)
        command.client.reset(command.streams["stdin"])
        assert (await asyncio.wait_for(command.finish(), 60)).exit_code == 0


async def test_streams_that_do_not_come_end_the_session() -> None:
    async with Bed(creation_timeout=0.05) as bed:
        client = await bed.spdy(bed.exec_url("true"), "v4.channel.k8s.io")
        client.open("error")
        await asyncio.wait_for(client.read_until_closed(), 60)
        assert bed.executor.processes == []


async def test_stream_of_a_kind_that_was_not_asked_for_is_refused() -> None:
    async with Bed() as bed:
        client = await bed.spdy(bed.exec_url("true"), "v4.channel.k8s.io")
        for kind in ("stdin", "resize", "nonsense", "error", "error"):
            client.open(kind)
        while len(client.resets) < 4:
            await client.step()
        assert set(client.resets) == {1, 3, 5, 9}


async def test_log_does_not_grow_with_streams_of_wrong_kinds(caplog: pytest.LogCaptureFixture) -> None:
    async with Bed() as bed:
        client = await bed.spdy(bed.exec_url("true"), "v4.channel.k8s.io")
        wrong = [client.open("nonsense") for _ in range(100)]
        while not client.resets.keys() >= set(wrong):
            await client.step()
        assert len([record for record in of_crio(caplog) if record.levelno >= logging.WARNING]) == MOST


async def test_idle_session_is_closed() -> None:
    async with Bed(idle_timeout=0.2) as bed:
        for protocol in ("spdy:v4.channel.k8s.io", "v5.channel.k8s.io"):
            command = await start(bed, protocol, bed.exec_url("sleep", "60"), "stdout", "stderr")
            await asyncio.wait_for(command.client.read_until_closed(), 60)


async def test_no_session_is_idle_if_there_is_no_limit() -> None:
    async with Bed(idle_timeout=0) as bed:
        for protocol in ("spdy:v4.channel.k8s.io", "v5.channel.k8s.io"):
            command = await start(bed, protocol, bed.exec_url("echo", "served"), "stdout", "stderr")
            assert (await asyncio.wait_for(command.finish(), 60)).exit_code == 0
            assert command.text("stdout") == b"served\n"


async def test_ping_is_answered_in_both_protocols() -> None:
    async with Bed() as bed:
        client = await bed.spdy(bed.exec_url("sleep", "60"), "v4.channel.k8s.io")
        ping = client.connection.ping()
        client.flush()
        while not any(getattr(event, "ping_id", None) == ping for event in client.events):
            await client.step()
        web = await bed.websocket(bed.exec_url("sleep", "60"), "v5.channel.k8s.io")
        web.connection.ping(b"abc")
        web.writer.write(web.connection.take_output())
        data = await web.reader.readuntil(b"abc")
        assert data.endswith(b"\x8a\x03abc")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        ([("Connection", "Upgrade"), ("Upgrade", "h2c")], 400),
        ([("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")], 403),
        ([("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v9")], 403),
        ([("Connection", "Upgrade"), ("Upgrade", "websocket")], 426),
        ([("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Protocol", "x")], 400),
    ],
)
async def test_what_cannot_be_upgraded_to(headers: list[tuple[str, str]], status: int) -> None:
    async with Bed() as bed:
        response, *_ = await bed.request(bed.exec_url("true"), [("Host", "n"), *headers])
        assert response.status == status
        if status == 403:
            accepted = [value for name, value in response.headers if name == "X-Accepted-Stream-Protocol-Versions"]
            assert accepted == SPDY_PROTOCOLS


async def test_first_frames_may_come_with_the_request() -> None:
    async with Bed() as bed:
        url = bed.exec_url("cat", stdin=True)
        reader, writer = await bed.dial(url)
        client = SpdyClient(reader, writer)
        for kind in ("error", "stdin", "stdout", "stderr"):
            client.connection.open_stream({"streamtype": kind})
        headers = [("Host", "n"), ("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]
        headers.append(("X-Stream-Protocol-Version", "v4.channel.k8s.io"))
        path = url.partition("/exec")[1] + url.partition("/exec")[2]
        request = encode_request("POST", path, headers) + client.connection.take_output()
        writer.write(request + client.connection.data_header(3, 2, fin=True) + b"hi")
        await reader.readuntil(b"\r\n\r\n")
        await client.read_until_closed()
        assert client.received[5] == b"hi"
        assert json.loads(client.received[1])["status"] == "Success"
