"""Stopping real processes: the signal, the deadline that can only come nearer, SIGKILL."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from crio.conmon.errors import RuntimeFailed
from crio.conmon.exitrecord import ExitRecord
from crio.container.container import Container
from crio.container.stop import shorten, stop_process
from crio.linux import cgroup
from crio.linux.pidfd import start_time
from crio.runtime.driver import OciRuntime
from small_node import make_container

CGROUPS = cgroup.detect()
OBEDIENT = "import signal, sys; signal.signal(15, lambda *_: sys.exit(3)); print(flush=True); signal.pause()"
STUBBORN = """
import signal
signal.signal(15, signal.SIG_IGN)
print(flush=True)
while True:
    signal.pause()
"""


class OneProcess(OciRuntime):
    """Sends signals to the first process itself, where a container's runtime would look it up first."""

    def __init__(self, pid: int) -> None:
        super().__init__("direct", "/bin/true", "")
        self.pid = pid
        self.sent: list[int] = []

    async def kill(self, container_id: str, number: int, *, every: bool = False) -> None:
        self.sent.append(number)
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            raise RuntimeFailed("kill it", self.name, "no such process") from None


class NoRuntime(OneProcess):
    """A runtime whose program is being replaced, or whose state directory has moved."""

    async def kill(self, container_id: str, number: int, *, every: bool = False) -> None:
        self.sent.append(number)
        raise RuntimeFailed("kill it", self.name, "container does not exist")


class Running:
    """A process in the place of a container, whose end is noted as the manager would."""

    def __init__(self, code: str, *, started: bool = True) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.container: Container = make_container(
            pid=self.process.pid, started_at=1 if started else 0, cgroup_path="/crio-test-no-such-group"
        )
        self.runtime = OneProcess(self.process.pid)
        self._watch = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        code = await asyncio.to_thread(self.process.wait)
        self.container.exit = ExitRecord(code if code >= 0 else 128 - code, finished_at_ns=1)
        self.container.exited.set()

    async def stop(self, timeout: float) -> None:
        shorten(self.container, timeout)
        await stop_process(self.container, self.runtime, CGROUPS)

    async def close(self) -> None:
        self.process.kill()
        await self._watch
        if self.process.stdout is not None:
            self.process.stdout.close()


Make = Callable[..., Coroutine[Any, Any, Running]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Running] = []

    async def one(code: str, **options: bool) -> Running:
        made.append(Running(code, **options))
        return made[-1]

    yield one
    for running in made:
        await running.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_who_obeys_is_not_killed(make: Make) -> None:
    running = await make(OBEDIENT)
    await running.stop(60)
    assert running.container.exit_code == 3
    assert running.runtime.sent == [signal.SIGTERM]
    assert running.container.stop_deadline is None


async def test_the_images_signal_is_used(make: Make) -> None:
    running = await make(OBEDIENT.replace("15", "10"))
    running.container.record.stop_signal = signal.SIGUSR1
    await running.stop(60)
    assert running.runtime.sent == [signal.SIGUSR1]


async def test_who_does_not_is_killed_after_the_timeout(make: Make) -> None:
    running = await make(STUBBORN)
    await running.stop(0.1)
    assert running.container.exit_code == 137
    assert running.runtime.sent[:2] == [signal.SIGTERM, signal.SIGKILL]
    assert running.container.execs_refused


async def test_without_a_timeout_there_is_no_other_signal(make: Make) -> None:
    running = await make(OBEDIENT)
    await running.stop(0)
    assert set(running.runtime.sent) == {signal.SIGKILL}


async def test_a_runtime_that_fails_keeps_nobody_alive(make: Make) -> None:
    running = await make(STUBBORN)
    running.runtime = NoRuntime(running.process.pid)
    running.container.record.pid_start = start_time(running.process.pid)
    async with asyncio.timeout(30):
        await running.stop(0)
    assert running.container.exit_code == 137


async def test_nor_does_it_take_the_time_to_end_from_it(make: Make) -> None:
    running = await make(OBEDIENT)
    running.runtime = NoRuntime(running.process.pid)
    running.container.record.pid_start = start_time(running.process.pid)
    await running.stop(60)
    assert running.container.exit_code == 3
    assert running.runtime.sent == [signal.SIGTERM]


async def test_what_was_never_started_is_killed_at_once(make: Make) -> None:
    running = await make(STUBBORN, started=False)
    await running.stop(60)
    assert set(running.runtime.sent) == {signal.SIGKILL}


async def test_a_later_stop_brings_the_kill_forward(make: Make) -> None:
    running = await make(STUBBORN)
    stop = asyncio.create_task(running.stop(3600))
    await until(lambda: bool(running.runtime.sent))
    shorten(running.container, 0.05)
    async with asyncio.timeout(30):
        await stop
    assert running.container.exit_code == 137


async def test_no_later_stop_puts_it_off(make: Make) -> None:
    running = await make(STUBBORN)
    stop = asyncio.create_task(running.stop(0.2))
    await until(lambda: bool(running.runtime.sent))
    deadline = running.container.stop_deadline
    shorten(running.container, 3600)
    assert running.container.stop_deadline == deadline
    async with asyncio.timeout(30):
        await stop
    assert running.container.exit_code == 137


async def test_an_end_that_comes_by_itself_is_seen(make: Make) -> None:
    running = await make(STUBBORN)
    stop = asyncio.create_task(running.stop(3600))
    await until(lambda: bool(running.runtime.sent))
    running.process.kill()
    async with asyncio.timeout(30):
        await stop
    assert running.runtime.sent == [signal.SIGTERM]


async def test_one_that_has_ended_is_left_alone(make: Make) -> None:
    running = await make("print(flush=True)")
    await running.container.exited.wait()
    await running.stop(5)
    assert running.runtime.sent == []
