"""Which processes are calls of a former daemon, and what becomes of those that do not end."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.daemon.orphans import Calls, wait_for_orphans

CONTAINER, POD = "ab" * 32, "cd" * 32


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """They run until somebody writes into their pipe, without a child: before its exec that would count as one more."""
    for name in ("runtime", "plugin"):
        path = tmp_path / name
        path.write_text('#!/bin/sh\nread line < "$0.go"\n')
        path.chmod(0o755)
        os.mkfifo(f"{path}.go")
    return tmp_path


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        if child.poll() is None:
            os.killpg(child.pid, 9)
            child.wait()


def spawn(*argv: str | Path, **variables: str) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ["PATH"], **variables}
    child = subprocess.Popen(list(map(str, argv)), env=environment, start_new_session=True)
    # In the middle of its exec a process has neither arguments nor an environment.
    while not Path(f"/proc/{child.pid}/environ").read_bytes():
        time.sleep(0.01)
    return child


async def waits_until(go: Path, calls: Calls, caplog: pytest.LogCaptureFixture) -> int:
    """How many it waits for; they end once it does."""
    caplog.set_level("INFO")
    waiting = asyncio.create_task(wait_for_orphans(calls, 60))
    async with asyncio.timeout(30):
        while "waiting for a call" not in caplog.text and not waiting.done():
            await asyncio.sleep(0.02)
    async with asyncio.timeout(30):
        while not _written(go):
            await asyncio.sleep(0.02)
    return await waiting


def _written(go: Path) -> bool:
    try:
        pipe = os.open(go, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False  # the program has not come to read it yet
    with open(pipe, "w") as file:
        file.write("go\n")
    return True


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def calls(programs: Path) -> Calls:
    return Calls([str(programs / "runtime")], [str(programs)], [CONTAINER], [POD])


@pytest.mark.parametrize("verb", ["start", "delete"])
async def test_a_call_of_a_runtime_is_waited_for(
    programs: Path, started: list[subprocess.Popen[bytes]], caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    started.append(spawn(programs / "runtime", "--root", "/r", verb, CONTAINER))
    assert await waits_until(programs / "runtime.go", calls(programs), caplog) == 1
    assert started[0].wait(timeout=60) == 0


async def test_a_plugin_is_waited_for(
    programs: Path, started: list[subprocess.Popen[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    started.append(spawn(programs / "plugin", CNI_CONTAINERID=POD, CNI_COMMAND="ADD"))
    assert await waits_until(programs / "plugin.go", calls(programs), caplog) == 1
    assert started[0].wait(timeout=60) == 0


async def test_what_does_not_end_is_killed_with_what_it_has_started(
    programs: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    (programs / "plugin").write_text("#!/bin/sh\nsleep 1000 &\nwait\n")
    started.append(spawn(programs / "plugin", CNI_CONTAINERID=POD, CNI_COMMAND="ADD"))
    # What it starts may be seen before its exec, as another one.
    assert await wait_for_orphans(calls(programs), 0.1) in (1, 2)
    assert started[0].wait(timeout=60) == -9
    # It is gone once somebody has reaped what the plug-in had started.
    async with asyncio.timeout(30):
        while group_exists(started[0].pid):
            await asyncio.sleep(0.02)


async def test_calls_of_others_are_left_alone(programs: Path, started: list[subprocess.Popen[bytes]]) -> None:
    other = "ef" * 32
    started += [
        spawn(programs / "runtime", "--root", "/r", "start", other),
        spawn(programs / "runtime", "--root", "/r", "create", CONTAINER),
        spawn(programs / "runtime", "--root", "/r", "exec", CONTAINER),
        spawn(programs / "plugin", CNI_CONTAINERID=other, CNI_COMMAND="ADD"),
        spawn(programs / "plugin"),
        spawn("/bin/sh", "-c", 'sleep 60; echo "$@"', "start", CONTAINER),
    ]
    assert await wait_for_orphans(calls(programs), 0.1) == 0
    assert [child.poll() for child in started] == [None] * len(started)


@pytest.mark.root
async def test_who_pretends_to_be_one_in_a_container_is_none(
    programs: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    started.append(spawn("unshare", "--pid", "--fork", programs / "runtime", "start", CONTAINER))
    assert await wait_for_orphans(calls(programs), 0.1) == 0
    assert started[0].poll() is None
