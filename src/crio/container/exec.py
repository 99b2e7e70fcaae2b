"""Commands in running containers: to their end for the CRI's ExecSync, or with live streams for Exec and Attach."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument, NotFound
from crio.base.process import Collector, drained
from crio.conmon.client import ExecProcess, ZygoteClient
from crio.conmon.errors import RuntimeFailed, sentence
from crio.conmon.launch import CONSOLE_PLACEHOLDER
from crio.conmon.spec import ExecSpec
from crio.conmon.watch import Monitor
from crio.container.container import Container
from crio.container.manager import ContainerManager
from crio.container.specgen.process import check_arguments
from crio.runtime.driver import OciRuntime
from crio.runtime.exec import (
    MAX_OUTPUT,
    AttachedCommand,
    ExecResult,
    exec_attached,
    exec_sync,
    kill_started,
)
from crio.runtime.exec_files import ExecFiles, noted

if TYPE_CHECKING:
    from crio.wire.remotecommand import Size

TIMED_OUT = b"command timed out"

_REAPING = 2.0
"""Seconds that a killed command is given to be gone."""


class Execs:
    """Runs commands in containers, and connects to their streams."""

    def __init__(self, containers: ContainerManager, zygote: ZygoteClient) -> None:
        self._containers = containers
        self._zygote = zygote

    def running(self, container_id: str, purpose: str = "execute in") -> Container:
        """The container, if a command can be run in it. Raises NotFound, as CRI-O does also for one that does not run,
        and FailedPrecondition while it is being stopped.
        """
        container = self._containers.get(container_id)
        if not container.running:
            state = container.state.name
            raise NotFound(f"cannot {purpose} container {container.short_id}: it is {state}, not RUNNING")
        if container.execs_refused:
            raise FailedPrecondition(f"cannot {purpose} container {container.short_id}: it is being stopped")
        return container

    async def run(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        """Run a command to its end; `timeout` in seconds, 0 for none.

        One that takes too long is killed: its exit code is -1 then, and its standard error says so.
        """
        check_arguments(command, "execute")
        if timeout < 0:
            raise InvalidArgument(f"cannot execute: the timeout {timeout:g} is negative")
        container = self.running(container_id)
        self._containers.expect_move()
        runtime = self._containers.runtime(container)
        if runtime.hands_down_streams and not runtime.exec_monitor_in_group:
            result = await exec_sync(
                runtime, container.id, container.directory, command, timeout, cpus=_cpus(container, runtime)
            )
        else:
            result = await self._run_under_monitor(container_id, command, timeout)
        if result.timed_out:
            return ExecResult(b"", TIMED_OUT, -1, timed_out=True)
        return result

    async def _run_under_monitor(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        """As `exec_sync`, with pipes that are the command's own."""
        process = await self.exec(container_id, command, tty=False, stdin=False, stdout=True, stderr=True)
        stdout, stderr = Collector(process.stdout, MAX_OUTPUT), Collector(process.stderr, MAX_OUTPUT)
        try:
            with noted(self._containers.get(container_id).directory, process.pid):
                async with asyncio.timeout(timeout or None):
                    exit_code = await process.wait()
                    await drained(stdout, stderr)
        except BaseException as error:
            await kill_started(process.pid)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REAPING):
                    await process.wait()
            if isinstance(error, TimeoutError):
                return ExecResult(b"", b"", -1, timed_out=True)
            raise
        finally:
            stdout.close()
            stderr.close()
            await process.close()
        return ExecResult(bytes(stdout.data), bytes(stderr.data), exit_code)

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> StreamedProcess:
        """Start a command whose streams the caller serves. Raises as `running`, and RuntimeFailed."""
        container = self.running(container_id)
        self._containers.expect_move()
        runtime = self._containers.runtime(container)
        if tty:
            process = await self._start_monitored(container, runtime, command, tty=True)
            os.set_blocking(process.master, False)
            return StreamedProcess(process, process.master, process.master, -1)
        pipes = _Pipes()
        try:
            if runtime.hands_down_streams and not runtime.exec_monitor_in_group:
                running: ExecProcess | AttachedCommand = await exec_attached(
                    runtime,
                    container.id,
                    container.directory,
                    command,
                    pipes.theirs,
                    cpus=_cpus(container, runtime),
                )
            else:
                running = await self._start_monitored(container, runtime, command, pipes.theirs, tty=False)
        except RuntimeFailed as error:
            # Without a terminal the runtime writes into the command's streams.
            pipes.close_theirs()
            what = f"execute {command[0]!r} in container {container.short_id}"
            reason = error.reason or sentence(pipes.error_text())
            pipes.close_ours()
            raise RuntimeFailed(what, runtime.name, reason) from None
        except BaseException:
            pipes.close_theirs()
            pipes.close_ours()
            raise
        pipes.close_theirs()
        return StreamedProcess(running, *pipes.keep(stdin=stdin, stdout=stdout, stderr=stderr))

    async def _start_monitored(
        self, container: Container, runtime: OciRuntime, command: Sequence[str], stdio: Sequence[int] = (), *, tty: bool
    ) -> ExecProcess:
        cpus = _cpus(container, runtime)
        files = ExecFiles(container.directory, command, terminal=tty, cpus=cpus)
        console = ["--console-socket", CONSOLE_PLACEHOLDER] if tty else []
        arguments = ["--detach", "--process", files.process, "--pid-file", files.pid, *console, container.id]
        try:
            with runtime.program.lent() as program:
                spec = ExecSpec(
                    argv=runtime.command("exec", *arguments),
                    pid_file=files.pid,
                    directory=container.directory,
                    terminal=tty,
                    env=runtime.program.env,
                    cgroup_paths=self._containers.group_directories(container) if runtime.exec_monitor_in_group else (),
                    cpus=cpus,
                )
                return await self._zygote.exec(spec, stdio, program=program)
        finally:
            files.remove()

    async def attach(
        self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> ContainerAttachment:
        """Connect to the streams of a running container. Raises as `running`."""
        container = self.running(container_id)
        monitor = self._containers.monitor(container)
        return ContainerAttachment(monitor, monitor.open_attach())


def _cpus(container: Container, runtime: OciRuntime) -> Sequence[int]:
    """The CPUs that a command is held to: the first one of a container that has CPUs of its own, if so configured."""
    if not runtime.exec_on_first_cpu:
        return ()
    cpus = pb.LinuxContainerResources.FromString(container.record.resources).cpuset_cpus
    first = cpus.partition(",")[0].partition("-")[0].strip()
    return (int(first),) if first.isdecimal() else ()


class StreamedProcess:
    """A command that runs in a container, as the streaming server wants it (see `streaming.backend.Process`)."""

    def __init__(self, process: ExecProcess | AttachedCommand, stdin: int, stdout: int, stderr: int) -> None:
        self._process = process
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr

    @property
    def pid(self) -> int:
        """As the host sees it."""
        return self._process.pid

    async def resize(self, size: Size) -> None:
        from crio.linux.pty import set_window_size

        with contextlib.suppress(OSError):
            set_window_size(self._process.master, size.height, size.width)

    async def wait(self) -> int:
        return await self._process.wait()

    async def close(self) -> None:
        self._process.close()


class ContainerAttachment:
    """A connection to a container's monitor, as the streaming server wants it (see `streaming.backend.Attachment`)."""

    def __init__(self, monitor: Monitor, connection: socket.socket) -> None:
        self._monitor = monitor
        self.socket = connection

    async def resize(self, size: Size) -> None:
        await self._monitor.resize(size.height, size.width)

    async def close(self) -> None:
        await asyncio.sleep(0)


class _Pipes:
    """The pipes of a command without a terminal."""

    def __init__(self) -> None:
        stdin_read, stdin_write = os.pipe2(os.O_CLOEXEC)
        stdout_read, stdout_write = os.pipe2(os.O_CLOEXEC)
        stderr_read, stderr_write = os.pipe2(os.O_CLOEXEC)
        self.theirs = (stdin_read, stdout_write, stderr_write)
        self._theirs_open = True
        self._ours = [stdin_write, stdout_read, stderr_read]
        for fd in self._ours:
            os.set_blocking(fd, False)

    def close_theirs(self) -> None:
        """Fine when done before."""
        if self._theirs_open:
            self._theirs_open = False
            for fd in self.theirs:
                os.close(fd)

    def error_text(self) -> str:
        """What is in the standard error now."""
        try:
            return os.read(self._ours[2], 65536).decode("utf-8", "replace")
        except BlockingIOError:
            return ""

    def close_ours(self) -> None:
        for fd in self._ours:
            os.close(fd)

    def keep(self, *, stdin: bool, stdout: bool, stderr: bool) -> tuple[int, int, int]:
        """Our ends; those that the client has no stream for are closed, so that the command sees an end of file."""
        kept = []
        for fd, wanted in zip(self._ours, (stdin, stdout, stderr), strict=True):
            if wanted:
                kept.append(fd)
            else:
                os.close(fd)
                kept.append(-1)
        return kept[0], kept[1], kept[2]
