"""Calls that a killed daemon has left running: those of OCI runtimes and of CNI plug-ins.

They go on for a moment, and what they do would come after the recovery's judgement: a container runs that was found not
to be started, an address is taken that was given back. So a recovery waits for them before it looks at anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Collection, Iterator

import msgspec

from crio.base.process import wait_readable
from crio.linux.pidfd import open_process, start_time

log = logging.getLogger(__name__)

_PATIENCE = 5.0
_AFTER_KILL = 2.0
_MOST_READ = 1 << 17
_VERBS = frozenset((b"start", b"kill", b"delete", b"update", b"pause", b"resume"))
"""Of a runtime, as a daemon calls it. `create` is a monitor's business, and an `exec` lives as long as its command."""


class Calls(msgspec.Struct, frozen=True):
    """Which calls are the former daemon's: these programs, about these containers and pods."""

    runtimes: Collection[str]
    """Paths."""
    plugin_dirs: Collection[str]
    containers: Collection[str]
    """Ids."""
    pods: Collection[str]
    """Ids."""


async def wait_for_orphans(calls: Calls, patience: float = _PATIENCE) -> int:
    """Wait until none of these calls runs any more. One that has not ended after `patience` seconds is killed.

    How many there were.
    """
    found = await asyncio.to_thread(lambda: list(_find(calls)))
    await asyncio.gather(*(_wait(pid, started, what, patience) for pid, started, what in found))
    return len(found)


async def _wait(pid: int, started: int, what: str, patience: float) -> None:
    pidfd = open_process(pid, started)
    if pidfd is None:
        return
    log.info("waiting for a call of the daemon before this one: %s", what)
    try:
        async with asyncio.timeout(patience):
            await wait_readable(pidfd)
    except TimeoutError:
        log.warning("a call of the daemon before this one does not end, and is killed: %s", what)
        await _kill(pid, pidfd)
    finally:
        os.close(pidfd)


async def _kill(pid: int, pidfd: int) -> None:
    try:
        if os.getpgid(pid) == pid:
            # A plug-in has a session of its own, with the plug-ins that it calls.
            os.killpg(pid, signal.SIGKILL)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        async with asyncio.timeout(_AFTER_KILL):
            await wait_readable(pidfd)
    except (ProcessLookupError, TimeoutError):
        # It has gone, or hangs in the kernel: nobody can wait for that.
        pass


def _find(calls: Calls) -> Iterator[tuple[int, int, str]]:
    """Pid, start time and a description of each. What pretends to be one, in a container, is none."""
    namespace = os.stat("/proc/self/ns/pid").st_ino
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            what = _call(f"/proc/{name}", calls)
            if (
                what
                and os.stat(f"/proc/{name}").st_uid == os.geteuid()
                and os.stat(f"/proc/{name}/ns/pid").st_ino == namespace
            ):
                yield int(name), start_time(int(name)), what
        except OSError:
            # It has ended.
            continue


def _call(process: str, calls: Calls) -> str:
    """What the process is called for, "" if it is none of these calls."""
    arguments = _read(f"{process}/cmdline").split(b"\0")
    # The program of a script is its interpreter.
    for position, argument in enumerate(arguments[:2]):
        program = os.fsdecode(argument)
        rest = arguments[position + 1 :]
        if program in calls.runtimes:
            verb = next(iter(_VERBS.intersection(rest)), b"")
            about = next((item for item in map(os.fsdecode, rest) if item in calls.containers), "")
            return f"{program} {verb.decode()} {about[:12]}" if verb and about else ""
        if program.startswith("/") and os.path.dirname(program) in calls.plugin_dirs:
            variables = dict(line.partition(b"=")[::2] for line in _read(f"{process}/environ").split(b"\0"))
            about = os.fsdecode(variables.get(b"CNI_CONTAINERID", b""))
            return f"{program} {os.fsdecode(variables[b'CNI_COMMAND'])} {about[:12]}" if about in calls.pods else ""
    return ""


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _MOST_READ)
    finally:
        os.close(fd)
