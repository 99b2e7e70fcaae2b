"""Ending a container's process: the stop signal, patience, then SIGKILL until it is gone.

A stop has one deadline, which a later stop with a shorter timeout may bring forward and none can put off. A process
that does not even die of SIGKILL hangs in the kernel; what it hangs on is told in the error.
"""

from __future__ import annotations

import asyncio
import logging
import signal

from crio.base.errors import CrioError, DeadlineExceeded
from crio.conmon.errors import RuntimeFailed
from crio.container.container import Container
from crio.container.diagnosis import diagnose
from crio.linux.cgroup import CgroupFs
from crio.linux.pidfd import kill_process, process_alive
from crio.runtime.driver import OciRuntime

log = logging.getLogger(__name__)

_FIRST_WAIT = 0.02
_LONGEST_WAIT = 120.0
KILL_PATIENCE = 30.0
"""Seconds of repeated SIGKILL after which a call gives up; the container is killed on at the next call."""


def shorten(container: Container, timeout: float) -> None:
    """Let the stop that is under way, or is to begin, kill after `timeout` seconds, unless it will do so earlier."""
    when = asyncio.get_running_loop().time() + timeout
    if container.stop_deadline is None or when < container.stop_deadline:
        container.stop_deadline = when
        container.stop_changed.set()


async def stop_process(
    container: Container, runtime: OciRuntime, cgroups: CgroupFs, patience: float = KILL_PATIENCE
) -> None:
    """End the container's process by `container.stop_deadline` (see `shorten`); returns when it is gone.

    Raises DeadlineExceeded with a diagnosis if SIGKILL does not help within `patience` seconds.
    """
    loop = asyncio.get_running_loop()
    try:
        if container.running and (container.stop_deadline or 0) > loop.time():
            await _signal(container, runtime, container.record.stop_signal)
            await _wait_until_deadline(container)
        if not container.exited.is_set():
            await _kill(container, runtime, cgroups, patience)
    finally:
        container.stop_deadline = None


async def _wait_until_deadline(container: Container) -> None:
    loop = asyncio.get_running_loop()
    while not container.exited.is_set() and container.stop_deadline is not None:
        left = container.stop_deadline - loop.time()
        if left <= 0:
            return
        container.stop_changed.clear()
        waits = [asyncio.ensure_future(container.exited.wait()), asyncio.ensure_future(container.stop_changed.wait())]
        try:
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


async def _kill(container: Container, runtime: OciRuntime, cgroups: CgroupFs, patience: float) -> None:
    container.execs_refused = True
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience
    pause = _FIRST_WAIT
    while not container.exited.is_set():
        if cgroups.frozen(container.record.cgroup_path):
            cgroups.thaw(container.record.cgroup_path)
        await _signal(container, runtime, signal.SIGKILL)
        try:
            async with asyncio.timeout(pause):
                await container.exited.wait()
        except TimeoutError:
            if loop.time() > give_up:
                raise DeadlineExceeded(
                    f"cannot stop container {container.short_id}: it survives SIGKILL since {patience:.0f} s; "
                    + diagnose(container.record.pid, cgroups.processes(container.record.cgroup_path))
                    + f"; its control group is {container.record.cgroup_path}"
                ) from None
        pause = min(pause * 2, _LONGEST_WAIT)


async def _signal(container: Container, runtime: OciRuntime, number: int) -> None:
    """By the runtime; where that cannot be run now, or does not know its containers any more, by ourselves."""
    try:
        await runtime.kill(container.id, number)
    except CrioError as error:
        record = container.record
        if container.exited.is_set():
            return
        # A runtime that was only too slow may have sent it: twice is too often for others than SIGKILL.
        ours = isinstance(error, RuntimeFailed) or number == signal.SIGKILL
        alive = record.pid_start and process_alive(record.pid, record.pid_start)
        if ours and alive and kill_process(record.pid, record.pid_start, number):
            log.warning("signal %d is sent to container %s without its runtime: %s", number, container.short_id, error)
        else:
            # The process may have ended since; if not, the next signal or the deadline tells.
            log.debug("signal %d to container %s: %s", number, container.short_id, error)
