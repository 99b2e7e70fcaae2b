"""The command-line driver with the real crun and runc."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from crio.conmon.errors import RuntimeFailed
from crio.linux.mount import bind, mounts_below
from crio.runtime.driver import OciRuntime
from monitor_bed import Bed

PATHS = {"crun": "/usr/bin/crun", "runc": "/usr/sbin/runc"}
pytestmark = pytest.mark.root


def _runtime(bed: Bed, name: str) -> OciRuntime:
    bed.runtime = PATHS[name]
    return OciRuntime(name, PATHS[name], bed.root)


@pytest.mark.parametrize("name", PATHS)
async def test_life_of_a_container(bed: Bed, name: str) -> None:
    runtime = _runtime(bed, name)
    monitor = await bed.create(["sleep", "1000"])
    assert await runtime.state(monitor.id) == "created"
    await runtime.start(monitor.id)
    assert await runtime.state(monitor.id) == "running"
    await runtime.kill(monitor.id, signal.SIGKILL)
    assert (await monitor.wait()).signal == signal.SIGKILL
    assert await runtime.state(monitor.id) == "stopped"
    await runtime.delete(monitor.id)
    with pytest.raises(RuntimeFailed, match=f"cannot state container {monitor.id[:12]}: {name}: "):
        await runtime.state(monitor.id)


@pytest.mark.parametrize("name", PATHS)
async def test_forced_deletion_ends_the_container_and_may_be_repeated(bed: Bed, name: str) -> None:
    runtime = _runtime(bed, name)
    monitor = await bed.create(["sleep", "1000"])
    await runtime.start(monitor.id)
    await runtime.delete(monitor.id, force=True)
    assert (await monitor.wait()).signal == signal.SIGKILL
    await runtime.delete(monitor.id, force=True)


@pytest.mark.parametrize("name", PATHS)
async def test_forced_deletion_takes_what_a_killed_create_has_left(bed: Bed, name: str) -> None:
    runtime = _runtime(bed, name)
    state = Path(bed.root) / ("d" * 64)
    state.mkdir(parents=True)
    (state / "exec.fifo").touch()
    mounted = state / "runc.XYZabc"
    mounted.touch()
    bind(PATHS[name], str(mounted))
    await runtime.delete("d" * 64, force=True)
    assert not state.exists()
    assert not mounts_below(str(state))


@pytest.mark.parametrize("name", PATHS)
async def test_starting_twice_is_an_error_in_one_line(bed: Bed, name: str) -> None:
    runtime = _runtime(bed, name)
    monitor = await bed.create(["sleep", "1000"])
    await runtime.start(monitor.id)
    with pytest.raises(RuntimeFailed) as caught:
        await runtime.start(monitor.id)
    assert "\n" not in caught.value.message
    assert caught.value.reason


@pytest.mark.parametrize("name", PATHS)
async def test_frozen_container_thaws(bed: Bed, name: str) -> None:
    runtime = _runtime(bed, name)
    monitor = await bed.create(["sleep", "1000"])
    await runtime.start(monitor.id)
    await runtime.pause(monitor.id)
    assert await runtime.state(monitor.id) == "paused"
    await runtime.resume(monitor.id)
    assert await runtime.state(monitor.id) == "running"


@pytest.mark.parametrize("name", PATHS)
async def test_limits_change(bed: Bed, name: str) -> None:
    runtime = _runtime(bed, name)
    monitor = await bed.create(["sleep", "1000"])
    await runtime.start(monitor.id)
    await runtime.update(monitor.id, json.dumps({"pids": {"limit": 77}}).encode())
    with open(f"/proc/{monitor.pid}/cgroup") as file:
        group = next(line.rstrip("\n").split(":", 2)[2] for line in file if ":pids:" in line)
    with open(f"/sys/fs/cgroup/pids{group}/pids.max") as file:
        assert file.read() == "77\n"


@pytest.mark.parametrize("name", PATHS)
async def test_features_are_asked_once(bed: Bed, name: str) -> None:
    runtime = _runtime(bed, name)
    assert await runtime.features() is await runtime.features()


async def test_runtime_that_is_not_there() -> None:
    runtime = OciRuntime("gone", "/no/such/runtime", "")
    with pytest.raises(RuntimeFailed, match="cannot run /no/such/runtime: No such file or directory"):
        await runtime.start("some-container")
    assert not (await runtime.features()).recursive_read_only


def test_command_line() -> None:
    runtime = OciRuntime("runc", "/usr/sbin/runc", "/run/runc", systemd_cgroup=True)
    assert runtime.command("kill", "id", "9") == [
        "/usr/sbin/runc",
        "--root",
        "/run/runc",
        "--systemd-cgroup",
        "kill",
        "id",
        "9",
    ]


async def test_a_start_that_waits_for_a_dead_process_is_let_go(tmp_path: Path) -> None:
    runtime = OciRuntime("crun", PATHS["crun"], str(tmp_path))
    runtime.release_start("none")
    (tmp_path / "one").mkdir()
    fifo = tmp_path / "one" / "exec.fifo"
    os.mkfifo(fifo)
    waiting = subprocess.Popen(["sh", "-c", f"exec 3>{fifo}"])
    try:
        async with asyncio.timeout(60):
            while waiting.poll() is None:
                runtime.release_start("one")
                await asyncio.sleep(0.01)
    finally:
        waiting.kill()
        waiting.wait()
