"""Monitors of an earlier version under a daemon of this one, as after an upgrade: frozen programs, real containers."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.conmon import client
from crio.conmon.client import ZygoteClient
from crio.conmon.watch import LogState, Monitor
from monitor_bed import Bed, files_of

pytestmark = pytest.mark.root

FROZEN = Path(__file__).parents[2] / "data" / "monitor-of-protocol-1.zip"

_PROGRAM = """
import sys
sys.path.insert(0, {archive!r})
import crio.conmon.execmonitor, crio.conmon.serving, crio.conmon.starter
from crio.conmon.zygote import main
main(int(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.fixture
async def old(rootfs: str, cgroups: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    """A bed whose monitors are of the frozen version."""
    directory = f"/dev/shm/conmon-test-{secrets.token_hex(4)}"
    os.mkdir(directory)
    program = Path(directory) / "zygote.py"
    program.write_text(_PROGRAM.format(archive=str(FROZEN)))
    monkeypatch.setattr(client, "_PROGRAM", str(program))
    zygote = ZygoteClient()
    await zygote.start()
    bed = Bed(zygote, directory, rootfs, cgroups)
    try:
        yield bed
    finally:
        await bed.clean_up()
        await zygote.stop()
        shutil.rmtree(directory)


async def _adopted(bed: Bed, made: Monitor) -> Monitor:
    """As a new daemon finds it: the old one and its zygote are gone."""
    made.close()
    return bed.adopt(await Monitor.connect(made.id, made.bundle))


async def test_it_is_the_frozen_one(old: Bed) -> None:
    monitor = await old.create(["sleep", "1000"])
    with open(f"/proc/{monitor.monitor_pid}/cmdline") as file:
        assert "zygote.py" in file.read()
    assert not any(name.endswith("facts (deleted)") for name in files_of(monitor.monitor_pid))


async def test_log_stdin_attach_and_exit_code(old: Bed) -> None:
    made = await old.create(["sh", "-c", "echo begun; while read line; do echo got $line; done; exit 6"], stdin=True)
    await old.start(made)
    monitor = await _adopted(old, made)
    assert (monitor.pid, monitor.monitor_pid, monitor.exited) == (made.pid, made.monitor_pid, None)
    assert monitor.log == LogState()
    attached = monitor.open_attach()
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(attached, b"one\n")
    async with asyncio.timeout(60):
        seen = await loop.sock_recv(attached, 8193)
        if seen == b"\x02begun\n":  # written only after the client came
            seen = await loop.sock_recv(attached, 8193)
    assert seen == b"\x02got one\n"
    log = Path(old.log_path(monitor))
    log.rename(f"{log}.1")
    await monitor.reopen_log()
    await loop.sock_sendall(attached, b"two\n")
    async with asyncio.timeout(60):
        assert await loop.sock_recv(attached, 8193) == b"\x02got two\n"
    attached.close()
    await monitor.close_stdin()
    record = await monitor.wait()
    assert (record.exit_code, record.monitor_lost, record.log_dropped) == (6, False, 0)
    assert await monitor.wait_gone(60)
    assert old.text(monitor) == "got two\n"
    assert Path(f"{log}.1").read_text().splitlines()[-1].endswith("got one")


async def test_terminal_is_resized(old: Bed) -> None:
    made = await old.create(["sh", "-c", "read x; stty size"], terminal=True, stdin=True)
    await old.start(made)
    monitor = await _adopted(old, made)
    await monitor.resize(33, 99)
    attached = monitor.open_attach()
    await asyncio.get_running_loop().sock_sendall(attached, b"\n")
    assert (await monitor.wait()).exit_code == 0
    attached.close()
    assert await monitor.wait_gone(60)
    assert "33 99" in old.text(monitor)


async def test_its_death_is_noticed(old: Bed) -> None:
    monitor = await _adopted(old, await old.create(["sleep", "1000"]))
    os.kill(monitor.monitor_pid, signal.SIGKILL)
    assert (await monitor.wait()).monitor_lost
    os.kill(monitor.pid, signal.SIGKILL)
