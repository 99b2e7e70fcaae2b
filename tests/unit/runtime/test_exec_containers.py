"""Commands in containers to their end, with crun, which hands its streams down."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from crio.conmon.errors import RuntimeFailed
from crio.conmon.watch import Monitor
from crio.runtime.driver import OciRuntime
from crio.runtime.exec import MAX_OUTPUT, AttachedCommand, ExecResult, exec_attached, exec_sync
from monitor_bed import Bed, is_alive

pytestmark = pytest.mark.root


async def _container(bed: Bed) -> Monitor:
    monitor = await bed.create(["sleep", "1000"])
    await bed.start(monitor)
    return monitor


async def _exec(bed: Bed, monitor: Monitor, command: str, timeout: float = 0) -> ExecResult:
    runtime = OciRuntime("crun", bed.runtime, bed.root)
    return await exec_sync(runtime, monitor.id, monitor.bundle, ["sh", "-c", command], timeout)


def _left_over(monitor: Monitor) -> list[str]:
    return [name for name in os.listdir(monitor.bundle) if name.startswith("exec-")]


async def test_output_and_exit_code(bed: Bed) -> None:
    monitor = await _container(bed)
    assert await _exec(bed, monitor, "echo out; echo err >&2; exit 3") == ExecResult(b"out\n", b"err\n", 3)
    assert (await _exec(bed, monitor, "kill -9 $$")).exit_code == 137
    assert _left_over(monitor) == []


async def test_missing_command(bed: Bed) -> None:
    monitor = await _container(bed)
    runtime = OciRuntime("crun", bed.runtime, bed.root)
    with pytest.raises(RuntimeFailed, match=r"cannot execute '/nope' in container .*: crun: .*No such file"):
        await exec_sync(runtime, monitor.id, monitor.bundle, ["/nope"], 0)
    assert _left_over(monitor) == []


async def test_output_is_capped_and_the_rest_is_read(bed: Bed) -> None:
    monitor = await _container(bed)
    result = await _exec(bed, monitor, f"head -c {MAX_OUTPUT + 1_000_000} /dev/zero; echo done >&2")
    assert (len(result.stdout), result.stderr, result.exit_code) == (MAX_OUTPUT, b"done\n", 0)


async def test_timeout_kills_the_command_in_the_container(bed: Bed) -> None:
    monitor = await _container(bed)
    before = set(_processes_of(monitor))
    result = await _exec(bed, monitor, "sleep 500 & sleep 600", timeout=0.3)
    assert (result.timed_out, result.exit_code) == (True, -1)
    async with asyncio.timeout(60):
        while set(_processes_of(monitor)) - before:
            await asyncio.sleep(0.02)
    assert is_alive(monitor.pid)
    assert _left_over(monitor) == []


async def test_grandchild_that_holds_the_output_does_not_hold_the_answer(bed: Bed) -> None:
    monitor = await _container(bed)
    begin = time.monotonic()
    result = await _exec(bed, monitor, "sleep 300 & echo answer", timeout=60)
    assert (result.stdout, result.exit_code) == (b"answer\n", 0)
    assert time.monotonic() - begin < 60


async def test_cancelled_call_leaves_no_command(bed: Bed) -> None:
    monitor = await _container(bed)
    before = set(_processes_of(monitor))
    task = asyncio.create_task(_exec(bed, monitor, "sleep 700"))
    async with asyncio.timeout(60):
        while not set(_processes_of(monitor)) - before:
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(60):
        while set(_processes_of(monitor)) - before:
            await asyncio.sleep(0.02)


def _processes_of(monitor: Monitor) -> list[int]:
    """All live processes in the container's pid namespace."""
    namespace = os.readlink(f"/proc/{monitor.pid}/ns/pid")
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                if os.readlink(f"/proc/{name}/ns/pid") == namespace and is_alive(int(name)):
                    found.append(int(name))
            except OSError:
                continue
    return found


async def _attached(bed: Bed, monitor: Monitor, command: list[str]) -> tuple[AttachedCommand, list[int]]:
    """A command with pipes, and our ends of them."""
    stdin, our_stdin = os.pipe()
    our_stdout, stdout = os.pipe()
    our_stderr, stderr = os.pipe()
    runtime = OciRuntime("crun", bed.runtime, bed.root)
    try:
        running = await exec_attached(runtime, monitor.id, monitor.bundle, command, (stdin, stdout, stderr))
        return running, [our_stdin, our_stdout, our_stderr]
    except BaseException:
        for fd in (our_stdin, our_stdout, our_stderr):
            os.close(fd)
        raise
    finally:
        for fd in (stdin, stdout, stderr):
            os.close(fd)


async def test_attached_command(bed: Bed) -> None:
    monitor = await _container(bed)
    running, fds = await _attached(bed, monitor, ["sh", "-c", "read line; echo got $line; kill -9 $$"])
    assert is_alive(running.pid)
    assert _left_over(monitor) == []
    os.write(fds[0], b"it\n")
    assert await asyncio.to_thread(os.read, fds[1], 100) == b"got it\n"
    assert await running.wait() == 137
    running.close()
    for fd in fds:
        os.close(fd)


async def test_attached_command_that_is_not_there(bed: Bed) -> None:
    monitor = await _container(bed)
    with pytest.raises(RuntimeFailed, match="cannot execute '/nope'"):
        await _attached(bed, monitor, ["/nope"])
    assert _left_over(monitor) == []


async def test_attached_command_whose_call_is_cancelled_does_not_run(bed: Bed) -> None:
    monitor = await _container(bed)
    before = set(_processes_of(monitor))
    starting = asyncio.create_task(_attached(bed, monitor, ["sleep", "900"]))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(60):
        while set(_processes_of(monitor)) - before:
            await asyncio.sleep(0.02)
    assert _left_over(monitor) == []
