"""Children: their output, their end, their time limit."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from crio.base import process
from crio.base.process import ProcessFailed, ProcessTimeout, run, spawn, wait_pid_exit
from loop_clock import pass_seconds
from monitor_bed import is_alive


def open_fds() -> set[str]:
    gc.collect()  # what earlier tests have left is not to be closed between two looks
    return set(os.listdir("/proc/self/fd"))


async def test_output_and_environment() -> None:
    done = await run(["/bin/sh", "-c", "echo out; echo err >&2; env"], timeout=60, env={"A": "b"})
    assert done.returncode == 0
    assert done.stderr == b"err\n"
    lines = done.stdout.decode().split("\n")
    assert lines[0] == "out"
    assert "A=b" in lines
    assert not any(line.startswith("PATH=/root") for line in lines)


async def test_stdin_is_fed_whole_and_closed() -> None:
    data = os.urandom(1 << 20)
    done = await run(["cat"], timeout=60, stdin=data)
    assert done.stdout == data


async def test_stdin_is_empty_by_default() -> None:
    assert (await run(["cat"], timeout=60)).stdout == b""


async def test_child_that_does_not_read_its_stdin() -> None:
    assert (await run(["true"], timeout=60, stdin=b"x" * (1 << 20))).returncode == 0


async def test_failure_tells_the_last_words() -> None:
    with pytest.raises(ProcessFailed, match=r"cannot run /bin/sh: exit code 3: no luck") as caught:
        await run(["/bin/sh", "-c", "echo no luck >&2; exit 3"], timeout=60)
    assert caught.value.completed.returncode == 3


async def test_failure_by_signal_is_named() -> None:
    with pytest.raises(ProcessFailed, match="signal SIGTERM"):
        await run(["/bin/sh", "-c", "kill -TERM $$"], timeout=60)


async def until_there(path: Path) -> None:
    while not path.exists():
        await asyncio.sleep(0.01)


async def test_timeout_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = tmp_path / "ready"
    script = f"echo waiting >&2; : > {ready}; exec sleep 1000"
    running = asyncio.create_task(run(["/bin/sh", "-c", script], timeout=60))
    await until_there(ready)
    pass_seconds(monkeypatch, 61)
    with pytest.raises(ProcessTimeout, match=r"killed after 60 s.*: waiting"):
        await running


async def test_timeout_kills_the_whole_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 1000 & echo $! > {pid_file}.part; mv {pid_file}.part {pid_file}; wait"
    running = asyncio.create_task(run(["/bin/sh", "-c", script], timeout=60, start_new_session=True))
    await until_there(pid_file)
    pass_seconds(monkeypatch, 61)
    with pytest.raises(ProcessTimeout):
        await running
    async with asyncio.timeout(60):
        while is_alive(int(pid_file.read_text())):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("given_up", [False, True])
async def test_an_interrupted_child_ends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    """What it does at its end is done before it is killed, at the end of its time and when the caller gives up."""
    monkeypatch.setattr(process, "_INTERRUPTED", 60.0)
    pid_file, ended = tmp_path / "pid", tmp_path / "ended"
    tell = f"echo $$ > {pid_file}.part; mv {pid_file}.part {pid_file}"
    script = f"trap 'echo yes > {ended}; exit 3' TERM; {tell}; while :; do sleep 0.01; done"

    async def interrupt() -> None:
        os.kill(int(pid_file.read_text()), signal.SIGTERM)

    running = asyncio.create_task(run(["/bin/sh", "-c", script], timeout=60, interrupt=interrupt))
    await until_there(pid_file)
    if given_up:
        running.cancel()
    else:
        pass_seconds(monkeypatch, 61)
    with pytest.raises(asyncio.CancelledError if given_up else ProcessTimeout):
        await running
    assert ended.read_text() == "yes\n"


async def test_a_child_that_ignores_its_interruption_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_INTERRUPTED", 0.1)

    async def interrupt() -> None:
        """Nothing that the child would notice."""

    with pytest.raises(ProcessTimeout):
        await run(["sleep", "60"], timeout=0.1, interrupt=interrupt)


async def test_a_grandchild_that_holds_the_pipes_does_not_hold_the_answer() -> None:
    done = await run(["/bin/sh", "-c", "sleep 1000 & echo $!; exit 0"], timeout=60)
    os.kill(int(done.stdout), signal.SIGKILL)


async def test_output_beyond_the_limit_is_dropped_and_never_blocks() -> None:
    program = "import sys; sys.stdout.write('x' * 3_000_000)"
    done = await run([sys.executable, "-c", program], timeout=60, max_output=1000)
    assert len(done.stdout) == 1000


async def test_missing_program() -> None:
    before = open_fds()
    with pytest.raises(FileNotFoundError):
        await run(["/nonexistent/program"], timeout=1)
    assert open_fds() <= before


async def test_cancelling_kills_and_leaks_nothing() -> None:
    before = open_fds()
    task = asyncio.create_task(run(["sleep", "60"], timeout=600))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_fds() <= before


async def test_many_at_once_leak_no_descriptor() -> None:
    await run(["true"], timeout=60)
    before = open_fds()
    await asyncio.gather(*(run(["true"], timeout=60) for _ in range(50)))
    assert open_fds() <= before


async def test_child_is_held_to_its_processors_and_this_process_is_not() -> None:
    before = os.sched_getaffinity(0)
    first = min(before)
    look = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"]
    done = await run(look, timeout=60, cpus=[first])
    assert done.stdout.split() == [b"Cpus_allowed_list:", str(first).encode()]
    assert os.sched_getaffinity(0) == before
    free = await run(look, timeout=60, cpus=[100_000])
    assert free.stdout.split()[1] != b"100000"


async def test_spawned_program_has_the_streams_it_was_given(tmp_path: Path) -> None:
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    null = os.open("/dev/null", os.O_RDWR)
    child = spawn(["sh", "-c", "echo here; exit 5"], (null, out, null))
    assert await wait_pid_exit(child) == 5
    assert (tmp_path / "out").read_bytes() == b"here\n"
    os.close(out)
    os.close(null)
