"""Child processes: the one place that starts programs.

Children are spawned by `subprocess` without `preexec_fn`, which on Linux is vfork: cheap however large the daemon is,
and safe beside threads. Their end is seen through a pidfd in the event loop, so no thread waits for them. A child gets
the environment it is given and nothing else, its stdin is /dev/null or the bytes given, and it never outlives its
time limit. What must happen between fork and exec does not belong here but in a helper program (see conmon/).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import IO

import msgspec

from crio.base.errors import Code, CrioError

log = logging.getLogger(__name__)

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_ENV: Mapping[str, str] = {"PATH": DEFAULT_PATH, "LANG": "C.UTF-8"}
MAX_OUTPUT = 1 << 20
"""Bytes of each output stream that are kept by default; the rest is read and dropped, so a child never blocks."""

_READ = 1 << 16
_DRAIN = 0.05
_INTERRUPTED = 2.0
"""Seconds that a child has to end by itself after its interruption."""


class Completed(msgspec.Struct, frozen=True):
    """How a child ended. `returncode` is negative for a signal, as in `subprocess`."""

    argv: Sequence[str]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def error_text(self) -> str:
        """The last 2 KiB of stderr (or stdout if that is empty), as one line for an error message."""
        text = (self.stderr.strip() or self.stdout.strip())[-2048:].decode("utf-8", "replace")
        return " ".join(text.split())


class ProcessFailed(CrioError):
    """A child ended with a code other than 0."""

    code = Code.INTERNAL

    def __init__(self, completed: Completed) -> None:
        how = (
            f"exit code {completed.returncode}"
            if completed.returncode >= 0
            else f"signal {signal_name(-completed.returncode)}"
        )
        detail = f": {completed.error_text}" if completed.error_text else ""
        super().__init__(f"cannot run {completed.argv[0]}: {how}{detail}")
        self.completed = completed


class ProcessTimeout(CrioError):
    """A child was killed because it ran longer than `timeout` seconds."""

    code = Code.DEADLINE_EXCEEDED
    temporary = True

    def __init__(self, argv: Sequence[str], timeout: float, stderr: bytes) -> None:
        text = " ".join(stderr[-2048:].decode("utf-8", "replace").split())
        super().__init__(
            f"cannot run {argv[0]}: killed after {timeout:g} s without an end" + (f": {text}" if text else "")
        )
        self.argv = argv


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


async def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] = DEFAULT_ENV,
    stdin: bytes | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    max_output: int = MAX_OUTPUT,
    check: bool = True,
    start_new_session: bool = False,
    interrupt: Callable[[], Awaitable[object]] | None = None,
    cpus: Collection[int] = (),
    executable: str | None = None,
) -> Completed:
    """Run a program to its end and return its exit code and output.

    The answer comes as soon as the child itself is gone, even if a grandchild still holds its pipes: then what was
    written until then is returned. Raises ProcessTimeout after `timeout` seconds (the child is killed, with its whole
    session if `start_new_session`), ProcessFailed on a non-zero end unless `check` is false, OSError if the program
    cannot be started. Cancelling kills the child and waits for it. Where the child would leave something behind if it
    were killed at once, `interrupt` is called before, and should make it end by itself. `cpus`, if given, are the only
    ones that the child may run on. `executable` is what is run instead of `argv[0]`, which remains its name.
    """
    if log.isEnabledFor(logging.DEBUG):
        log.debug("+ %s", shlex.join(argv))
    with _on_cpus(cpus):
        child = subprocess.Popen(
            argv,
            executable=executable,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            start_new_session=start_new_session,
            bufsize=0,
        )
    assert child.stdout is not None
    assert child.stderr is not None
    stdout = Collector(_own(child.stdout), max_output)
    stderr = Collector(_own(child.stderr), max_output)
    feeder = _Feeder(_own(child.stdin), stdin) if stdin is not None and child.stdin is not None else None
    try:
        async with asyncio.timeout(timeout):
            await wait_pid_exit(child)
            await drained(stdout, stderr)
    except TimeoutError:
        await _end(child, interrupt, start_new_session)
        raise ProcessTimeout(argv, timeout, bytes(stderr.data)) from None
    except BaseException:
        await asyncio.shield(_end(child, interrupt, start_new_session))
        raise
    finally:
        stdout.close()
        stderr.close()
        if feeder is not None:
            feeder.close()
    completed = Completed(argv, child.returncode, bytes(stdout.data), bytes(stderr.data))
    if check and completed.returncode != 0:
        raise ProcessFailed(completed)
    return completed


def spawn(
    argv: Sequence[str],
    stdio: tuple[int, int, int],
    *,
    env: Mapping[str, str] = DEFAULT_ENV,
    cpus: Collection[int] = (),
    executable: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program with three descriptors as its streams, and leave it to the caller. OSError. Else as `run`."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug("+ %s", shlex.join(argv))
    with _on_cpus(cpus):
        return subprocess.Popen(argv, executable=executable, env=env, stdin=stdio[0], stdout=stdio[1], stderr=stdio[2])


@contextlib.contextmanager
def _on_cpus(cpus: Collection[int]) -> Iterator[None]:
    """Children that are started meanwhile run on `cpus` only: they inherit that from the thread that starts them.

    Without effect where this process itself may not run on any of them.
    """
    before = os.sched_getaffinity(0) if cpus else set()
    if not before & set(cpus):
        yield
        return
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def wait_pid_exit(child: subprocess.Popen[bytes]) -> int:
    """Wait for a child without a thread (pidfd_open(2), Linux 5.3) and reap it."""
    if child.poll() is not None:
        return child.returncode
    pidfd = os.pidfd_open(child.pid)
    try:
        await wait_readable(pidfd)
    finally:
        os.close(pidfd)
    return child.wait()


async def wait_readable(fd: int) -> None:
    """Wait until `fd` is readable (for a pidfd: until the process has ended)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def _end(
    child: subprocess.Popen[bytes], interrupt: Callable[[], Awaitable[object]] | None, whole_session: bool
) -> None:
    try:
        if interrupt is not None and child.poll() is None:
            await interrupt()
            async with asyncio.timeout(_INTERRUPTED):
                await wait_pid_exit(child)
    except TimeoutError:
        log.debug("%s does not end by itself and is killed", child.args)
    finally:
        await kill_and_reap(child, whole_session=whole_session)


async def kill_and_reap(child: subprocess.Popen[bytes], *, whole_session: bool = False) -> None:
    """SIGKILL a child, or its session, and wait for its end."""
    if child.poll() is None:
        try:
            if whole_session:
                os.killpg(child.pid, signal.SIGKILL)
            else:
                child.kill()
        except ProcessLookupError:
            pass
        await wait_pid_exit(child)


async def drained(*collectors: Collector) -> None:
    """Take what the child left in its pipes; a grandchild that keeps them open is given no more than a moment."""
    await asyncio.wait([collector.eof for collector in collectors], timeout=_DRAIN)


def _own(pipe: IO[bytes]) -> int:
    """A descriptor of our own for a Popen pipe, non-blocking; Popen's is closed."""
    fd = os.dup(pipe.fileno())
    pipe.close()
    os.set_blocking(fd, False)
    return fd


class Collector:
    """Reads a pipe to its end as data comes, and keeps the first `limit` bytes in `data`; `eof` is set at the end.

    `fd` must be non-blocking and belongs to the collector, which closes it.
    """

    def __init__(self, fd: int, limit: int) -> None:
        self.data = bytearray()
        self._fd = fd
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self.eof: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(fd, self._readable)

    def _readable(self) -> None:
        try:
            chunk = os.read(self._fd, _READ)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if chunk:
            self.data += chunk[: self._limit - len(self.data)]
        else:
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            if not self.eof.done():
                self.eof.set_result(None)


class _Feeder:
    """Writes bytes into a child's stdin and closes it; a child that stops reading is not an error."""

    def __init__(self, fd: int, data: bytes) -> None:
        self._fd = fd
        self._rest = memoryview(data)
        self._loop = asyncio.get_running_loop()
        self._loop.add_writer(fd, self._writable)

    def _writable(self) -> None:
        try:
            written = os.write(self._fd, self._rest[:_READ])
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._rest = self._rest[written:]
        if not self._rest:
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
