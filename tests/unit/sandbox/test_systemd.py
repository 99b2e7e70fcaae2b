"""Asking systemd for units, with a peer that answers as systemd does on its private socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crio.base.errors import FailedPrecondition, Internal, Unavailable
from crio.rpc.dbus import DbusRefused
from crio.sandbox.systemd import Systemd
from crio.wire.dbus import ERROR, RETURN, SIGNAL, Message, MessageReader, Variant, encode

MANAGER = "org.freedesktop.systemd1.Manager"


class Peer:
    """Writes down the calls; `answers` says how each in turn ends: a job's result, an error's name, or "close"."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers: list[str] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.readline()
        await reader.readline()
        writer.write(b"OK 00\r\n")
        messages = MessageReader()
        while data := await reader.read(65536):
            for message in messages.feed(data):
                arguments = message.arguments()
                self.calls.append((message.member, arguments))
                answer = self.answers.pop(0) if self.answers else "done"
                if answer == "close":
                    writer.close()
                    return
                if "." in answer:
                    error = Message(ERROR, 1, error_name=answer, reply_serial=message.serial, signature="s")
                    writer.write(encode(error, ["no"]))
                    continue
                reply = Message(RETURN, 1, reply_serial=message.serial, signature="o")
                writer.write(encode(reply, ["/job/1"]))
                for unit, result in (("other.scope", "failed"), (str(arguments[0]), answer)):
                    signal = Message(SIGNAL, 2, "/org", MANAGER, "JobRemoved", signature="uoss")
                    writer.write(encode(signal, [1, "/job/1", unit, result]))
        writer.close()


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    peer = Peer(str(tmp_path / "private"))
    async with await asyncio.start_unix_server(peer.serve, peer.path):
        yield peer


@pytest.fixture
async def systemd(peer: Peer) -> AsyncIterator[Systemd]:
    with contextlib.closing(Systemd(peer.path, "/nonexistent")) as systemd:
        yield systemd


async def test_a_scope(peer: Peer, systemd: Systemd) -> None:
    await systemd.start_scope("crio-1.scope", "a-b.slice", [5, 6], {"Delegate": Variant("b", True)})
    ((member, arguments),) = peer.calls
    assert member == "StartTransientUnit"
    name, mode, properties, others = arguments
    assert (name, mode, others) == ("crio-1.scope", "fail", [])
    assert dict(properties) == {
        "Slice": Variant("s", "a-b.slice"),
        "PIDs": Variant("au", [5, 6]),
        "CollectMode": Variant("s", "inactive-or-failed"),
        "Delegate": Variant("b", True),
    }


async def test_a_failed_unit_of_that_name_is_replaced(peer: Peer, systemd: Systemd) -> None:
    peer.answers = ["org.freedesktop.systemd1.UnitExists", "done", "done"]
    await systemd.start_scope("crio-1.scope", "a.slice", [5])
    assert [member for member, _ in peer.calls] == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


async def test_a_unit_that_runs_is_not(peer: Peer, systemd: Systemd) -> None:
    peer.answers = ["org.freedesktop.systemd1.UnitExists", "done", "org.freedesktop.systemd1.UnitExists"]
    with pytest.raises(DbusRefused):
        await systemd.start_scope("crio-1.scope", "a.slice", [5])


async def test_a_process_that_has_ended(peer: Peer, systemd: Systemd) -> None:
    peer.answers = ["org.freedesktop.DBus.Error.UnixProcessIdUnknown"]
    with pytest.raises(ProcessLookupError):
        await systemd.start_scope("crio-1.scope", "a.slice", [5])


async def test_a_job_that_fails(peer: Peer, systemd: Systemd) -> None:
    peer.answers = ["failed"]
    with pytest.raises(Internal, match=r"a\.slice: its job ended with 'failed'"):
        await systemd.start("a.slice")


async def test_a_unit_to_stop_that_is_not_there(peer: Peer, systemd: Systemd) -> None:
    peer.answers = ["org.freedesktop.systemd1.NoSuchUnit"]
    await systemd.stop("a.slice")
    assert peer.calls == [("StopUnit", ("a.slice", "replace"))]


async def test_one_connection_for_all_and_a_new_one_after_a_loss(peer: Peer, systemd: Systemd) -> None:
    await asyncio.gather(*(systemd.start(f"a{number}.slice") for number in range(5)), systemd.start("a0.slice"))
    assert peer.connections == 1
    peer.answers = ["close"]
    with pytest.raises(Unavailable):
        await systemd.start("b.slice")
    await systemd.start("b.slice")
    assert peer.connections == 2


async def test_no_systemd(tmp_path: Path) -> None:
    systemd = Systemd(str(tmp_path / "private"), str(tmp_path / "bus"))
    with pytest.raises(FailedPrecondition, match='set cgroup_manager = "cgroupfs"'):
        await systemd.start("a.slice")
    systemd.close()
