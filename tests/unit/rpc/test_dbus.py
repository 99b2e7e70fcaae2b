"""The D-Bus connection against a real message bus."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import DeadlineExceeded, Unavailable
from crio.rpc.dbus import DbusConnection, DbusRefused
from crio.wire.dbus import Message

BUS = "org.freedesktop.DBus"
PATH = "/org/freedesktop/DBus"

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed")


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """The socket of a message bus that lets everybody talk."""
    socket = tmp_path / "bus"
    config = tmp_path / "bus.conf"
    config.write_text(f"""<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/>
<allow own="*"/><allow user="*"/></policy></busconfig>""")
    process = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield str(socket)
    process.kill()
    process.wait()
    process.stdout.close()


def _ignore(_message: Message) -> None:
    pass


async def test_call_and_signal(bus: str) -> None:
    signals: list[Message] = []
    connection = await DbusConnection.connect(bus, signals.append, bus=True)
    try:
        (names,) = await connection.call(BUS, PATH, BUS, "ListNames")
        assert BUS in names
        assert await connection.call(BUS, PATH, BUS, "RequestName", "su", ("a.b.c", 0)) == (1,)
        (owned,) = await connection.call(BUS, PATH, BUS, "NameHasOwner", "s", ("a.b.c",))
        assert owned is True
    finally:
        connection.close()
    assert ("NameAcquired", ("a.b.c",)) in [(signal.member, signal.arguments()) for signal in signals]
    assert connection.closed


async def test_many_calls_at_once(bus: str) -> None:
    connection = await DbusConnection.connect(bus, _ignore, bus=True)
    try:
        asked = [BUS, "a.b"] * 25
        calls = (connection.call(BUS, PATH, BUS, "NameHasOwner", "s", (name,)) for name in asked)
        assert await asyncio.gather(*calls) == [(name == BUS,) for name in asked]
    finally:
        connection.close()


async def test_an_error_has_its_name(bus: str) -> None:
    connection = await DbusConnection.connect(bus, _ignore, bus=True)
    try:
        with pytest.raises(DbusRefused, match="NoSuch") as caught:
            await connection.call(BUS, PATH, BUS, "NoSuch")
        assert caught.value.name == "org.freedesktop.DBus.Error.UnknownMethod"
    finally:
        connection.close()


async def test_calls_fail_when_the_bus_goes(bus: str, tmp_path: Path) -> None:
    connection = await DbusConnection.connect(bus, _ignore, bus=True)
    connection.close()
    assert connection.lost.is_set()
    with pytest.raises(Unavailable, match="closed"):
        await connection.call(BUS, PATH, BUS, "ListNames")


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await DbusConnection.connect(str(tmp_path / "none"), _ignore, bus=True)


async def _server(path: str, answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        await reader.read()
        writer.close()

    return await asyncio.start_unix_server(serve, path)


@pytest.mark.parametrize("answer", [b"REJECTED EXTERNAL\r\n", b"x" * 5000])
async def test_not_let_in(tmp_path: Path, answer: bytes) -> None:
    async with await _server(str(tmp_path / "socket"), answer):
        with pytest.raises(Unavailable, match="authentication"):
            await DbusConnection.connect(str(tmp_path / "socket"), _ignore, bus=False)


async def test_no_answer(tmp_path: Path) -> None:
    async with await _server(str(tmp_path / "socket"), b""):
        with pytest.raises(DeadlineExceeded, match="does not answer"):
            await DbusConnection.connect(str(tmp_path / "socket"), _ignore, bus=False, timeout=0.05)


async def test_what_is_no_message_ends_the_connection(tmp_path: Path) -> None:
    async with await _server(str(tmp_path / "socket"), b"OK 1234\r\n" + b"\xff" * 16):
        connection = await DbusConnection.connect(str(tmp_path / "socket"), _ignore, bus=False)
        await asyncio.wait_for(connection.lost.wait(), 60)
        with pytest.raises(Unavailable):
            await connection.call("", PATH, BUS, "ListNames")
    assert os.path.exists(tmp_path)
