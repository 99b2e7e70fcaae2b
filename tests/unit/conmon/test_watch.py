"""Monitors seen from the daemon: their end, and taking over those of an earlier daemon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from crio.base.errors import Cancelled, FailedPrecondition
from crio.conmon.connection import Connection
from crio.conmon.exitrecord import ExitRecord
from crio.conmon.packets import encode
from crio.conmon.watch import Monitor
from monitor_bed import Bed, is_alive

pytestmark = pytest.mark.root


async def test_killed_monitor_is_noticed(bed: Bed) -> None:
    monitor = await bed.create(["sleep", "1000"])
    await bed.start(monitor)
    os.kill(monitor.monitor_pid, signal.SIGKILL)
    record = await monitor.wait()
    assert (record.exit_code, record.monitor_lost) == (255, True)
    assert is_alive(monitor.pid)
    os.kill(monitor.pid, signal.SIGKILL)
    with pytest.raises(FailedPrecondition, match="has ended"):
        await monitor.reopen_log()


@pytest.mark.parametrize("asked", [False, True])
async def test_a_request_while_the_container_ends(tmp_path: Path, asked: bool) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monitor = Monitor("id", str(tmp_path), 0, os.getpid(), Connection(ours))
    if asked:
        request = asyncio.create_task(monitor.reopen_log())
        await asyncio.get_running_loop().run_in_executor(None, theirs.recv, 100)
    fields = {"exit_code": 3, "signal": 0, "oom_killed": False, "finished_at_ns": 1}
    theirs.send(encode("exited", fields))
    theirs.close()
    if not asked:
        request = asyncio.create_task(monitor.reopen_log())
    with pytest.raises(FailedPrecondition, match="has ended"):
        await request
    assert monitor.exited is not None
    assert monitor.exited.exit_code == 3
    monitor.close()


async def test_adoption_of_a_running_and_of_an_ended_container(bed: Bed) -> None:
    running = await bed.create(["cat"], stdin=True)
    await bed.start(running)
    ended = await bed.run_to_end(["sh", "-c", "exit 8"])
    waiting = asyncio.create_task(running.wait())
    await asyncio.sleep(0)
    running.close()
    with pytest.raises(Cancelled):
        await waiting
    again = bed.adopt(await Monitor.connect(running.id, running.bundle))
    assert (again.pid, again.monitor_pid) == (running.pid, running.monitor_pid)
    assert again.exited is None
    await again.close_stdin()
    assert (await again.wait()).exit_code == 0
    await ended.wait_gone(60)
    late = await Monitor.connect(ended.id, ended.bundle)
    assert late.exited == await ended.wait()
    assert (late.pid, late.monitor_pid) == (ended.pid, 0)


async def test_adoption_of_a_container_whose_monitor_was_killed(bed: Bed) -> None:
    monitor = await bed.create(["sleep", "1000"])
    os.kill(monitor.monitor_pid, signal.SIGKILL)
    await monitor.wait_gone(60)
    lost = await Monitor.connect(monitor.id, monitor.bundle)
    assert lost.exited == ExitRecord.lost()
    assert lost.pid == monitor.pid
    os.kill(monitor.pid, signal.SIGKILL)


_DAEMON = """
import asyncio, json, sys
sys.path[:0] = json.loads(sys.argv[1])
from monitor_bed import Bed
from crio.conmon.client import ZygoteClient

async def main():
    zygote = ZygoteClient()
    await zygote.start()
    bed = Bed(zygote, *sys.argv[2:5])
    count = "i=0; while [ $i -lt 30 ]; do echo $i; sleep 0.02; i=$((i+1)); done; read end; exit 9"
    monitor = await bed.create(["sh", "-c", count], stdin=True)
    await bed.start(monitor)
    print(monitor.id, zygote.pid, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_container_outlives_daemon_and_zygote(bed: Bed, rootfs: str, cgroups: str) -> None:
    directory = f"{bed.directory}/daemon"
    os.mkdir(directory)
    daemon = subprocess.Popen(
        [sys.executable, "-c", _DAEMON, json.dumps(sys.path), directory, rootfs, cgroups], stdout=subprocess.PIPE
    )
    assert daemon.stdout is not None
    container_id, zygote = (await asyncio.to_thread(daemon.stdout.readline)).decode().split()
    os.kill(int(zygote), signal.SIGKILL)
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    monitor = bed.adopt(await Monitor.connect(container_id, f"{directory}/{container_id}"))
    assert monitor.exited is None
    await monitor.close_stdin()
    record = await monitor.wait()
    assert (record.exit_code, record.monitor_lost) == (9, False)
    with open(f"{directory}/{container_id}.log") as file:
        assert [line.split()[-1] for line in file] == [str(number) for number in range(30)]
    await monitor.wait_gone(60)
    subprocess.run([bed.runtime, "--root", f"{directory}/crun", "delete", container_id], check=True)
