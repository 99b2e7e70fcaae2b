"""Children: their output, their end, their time limit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from crio.base.process import ProcessFailed, ProcessTimeout, run, spawn, wait_pid_exit


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


async def test_output_and_environment() -> None:
    done = await run(["/bin/sh", "-c", "echo out; echo err >&2; env"], timeout=10, env={"A": "b"})
    assert done.returncode == 0
    assert done.stderr == b"err\n"
    lines = done.stdout.decode().split("\n")
    assert lines[0] == "out"
    assert "A=b" in lines
    assert not any(line.startswith("PATH=/root") for line in lines)


async def test_stdin_is_fed_whole_and_closed() -> None:
    data = os.urandom(1 << 20)
    done = await run(["cat"], timeout=10, stdin=data)
    assert done.stdout == data


async def test_stdin_is_empty_by_default() -> None:
    assert (await run(["cat"], timeout=10)).stdout == b""


async def test_child_that_does_not_read_its_stdin() -> None:
    assert (await run(["true"], timeout=10, stdin=b"x" * (1 << 20))).returncode == 0


async def test_failure_tells_the_last_words() -> None:
    with pytest.raises(ProcessFailed, match=r"cannot run /bin/sh: exit code 3: no luck") as caught:
        await run(["/bin/sh", "-c", "echo no luck >&2; exit 3"], timeout=10)
    assert caught.value.completed.returncode == 3


async def test_failure_by_signal_is_named() -> None:
    with pytest.raises(ProcessFailed, match="signal SIGTERM"):
        await run(["/bin/sh", "-c", "kill -TERM $$"], timeout=10)


async def test_timeout_kills() -> None:
    with pytest.raises(ProcessTimeout, match=r"killed after 0\.2 s.*: waiting"):
        await run(["/bin/sh", "-c", "echo waiting >&2; exec sleep 60"], timeout=0.2)


async def test_timeout_kills_the_whole_session(tmp_path: os.PathLike[str]) -> None:
    pid_file = os.path.join(tmp_path, "pid")
    with pytest.raises(ProcessTimeout):
        await run(["/bin/sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], timeout=0.5, start_new_session=True)
    with open(pid_file, encoding="ascii") as file:
        child = int(file.read())
    for _ in range(100):
        if not os.path.exists(f"/proc/{child}") or _state(child) == "Z":
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"process {child} of the session lives on")


async def test_an_interrupted_child_ends_by_itself(tmp_path: Path) -> None:
    """What it does at its end is done before it is killed, at the end of its time and when the caller gives up."""
    running, ended = tmp_path / "pid", tmp_path / "ended"
    script = f"trap 'echo yes > {ended}; exit 3' TERM; echo $$ > {running}; while :; do sleep 0.01; done"

    async def interrupt() -> None:
        os.kill(int(running.read_text()), signal.SIGTERM)

    with pytest.raises(ProcessTimeout):
        await run(["/bin/sh", "-c", script], timeout=0.5, interrupt=interrupt)
    assert ended.read_text() == "yes\n"

    ended.unlink()
    running.unlink()
    task = asyncio.create_task(run(["/bin/sh", "-c", script], timeout=60, interrupt=interrupt))
    while not running.exists() or not running.read_text():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.read_text() == "yes\n"


async def test_a_child_that_ignores_its_interruption_is_killed() -> None:
    async def interrupt() -> None:
        """Nothing that the child would notice."""

    with pytest.raises(ProcessTimeout):
        await run(["sleep", "60"], timeout=0.1, interrupt=interrupt)


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


async def test_a_grandchild_that_holds_the_pipes_does_not_hold_the_answer() -> None:
    begin = time.monotonic()
    done = await run(["/bin/sh", "-c", "echo early; sleep 5 & exit 0"], timeout=10)
    assert done.stdout == b"early\n"
    assert time.monotonic() - begin < 4


async def test_output_beyond_the_limit_is_dropped_and_never_blocks() -> None:
    program = "import sys; sys.stdout.write('x' * 3_000_000)"
    done = await run([sys.executable, "-c", program], timeout=20, max_output=1000)
    assert len(done.stdout) == 1000


async def test_missing_program() -> None:
    before = open_fds()
    with pytest.raises(FileNotFoundError):
        await run(["/nonexistent/program"], timeout=1)
    assert open_fds() == before


async def test_cancelling_kills_and_leaks_nothing() -> None:
    before = open_fds()
    task = asyncio.create_task(run(["sleep", "60"], timeout=100))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_fds() == before


async def test_many_at_once_leak_no_descriptor() -> None:
    await run(["true"], timeout=10)
    before = open_fds()
    await asyncio.gather(*(run(["true"], timeout=30) for _ in range(50)))
    assert open_fds() == before


async def test_child_is_held_to_its_processors_and_this_process_is_not() -> None:
    before = os.sched_getaffinity(0)
    first = min(before)
    look = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"]
    done = await run(look, timeout=30, cpus=[first])
    assert done.stdout.split() == [b"Cpus_allowed_list:", str(first).encode()]
    assert os.sched_getaffinity(0) == before
    free = await run(look, timeout=30, cpus=[100_000])
    assert free.stdout.split()[1] != b"100000"


async def test_spawned_program_has_the_streams_it_was_given(tmp_path: Path) -> None:
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    null = os.open("/dev/null", os.O_RDWR)
    child = spawn(["sh", "-c", "echo here; exit 5"], (null, out, null))
    assert await wait_pid_exit(child) == 5
    assert (tmp_path / "out").read_bytes() == b"here\n"
    os.close(out)
    os.close(null)
