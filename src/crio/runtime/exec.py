"""Running a command in a container without a monitor process: to its end, with bounded output and time, or attached."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Collection, Sequence

import msgspec

from crio.base.process import ProcessTimeout, kill_and_reap, run, spawn, wait_pid_exit
from crio.conmon.errors import RuntimeFailed, RuntimeTimeout, sentence
from crio.linux.process_tree import kill_tree
from crio.runtime.driver import OciRuntime
from crio.runtime.exec_files import ExecFiles

MAX_OUTPUT = 16 << 20
"""Bytes of each stream that are kept (CVE-2022-1708); the rest is read and dropped."""

_FOREVER = 365 * 86400.0
_START_TIMEOUT = 60.0
_LOOK = 0.002
_LAST_LOOKS = 1000


class ExecResult(msgspec.Struct, frozen=True):
    """How a command ended. `timed_out`: it was killed for taking too long, and has no exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    timed_out: bool = False


async def exec_sync(
    runtime: OciRuntime,
    container_id: str,
    bundle: str,
    command: Sequence[str],
    timeout: float,
    *,
    cpus: Collection[int] = (),
) -> ExecResult:
    """Run `command` in the container and return its output and exit code.

    `timeout` in seconds, 0 for none; then the command is killed with all that it has started. The answer does not wait
    for children of the command that hold its output open. Raises RuntimeFailed if the command cannot be started.
    """
    files = ExecFiles(bundle, command, terminal=False, cpus=cpus)
    argv = runtime.command("exec", "--process", files.process, "--pid-file", files.pid, container_id)

    async def kill_command() -> None:
        await kill_started(files.read_pid())

    executable = runtime.program.executable()
    try:
        # The runtime must outlive the command: it is the command's parent, and nobody else would reap it.
        done = await run(
            argv,
            timeout=timeout or _FOREVER,
            max_output=MAX_OUTPUT,
            check=False,
            interrupt=kill_command,
            cpus=cpus,
            executable=executable,
            env=runtime.program.env,
        )
        started = files.read_pid() != 0
    except BaseException as error:
        # It may have come up just when the runtime was killed.
        await kill_command()
        if isinstance(error, ProcessTimeout):
            return ExecResult(b"", str(error).encode(), -1, timed_out=True)
        raise
    finally:
        files.remove()
    if done.returncode != 0 and not started:
        raise RuntimeFailed(
            f"execute {command[0]!r} in container {container_id[:12]}",
            runtime.name,
            sentence(done.stderr.decode("utf-8", "replace")),
        )
    return ExecResult(done.stdout, done.stderr, done.returncode if done.returncode >= 0 else 128 - done.returncode)


class AttachedCommand:
    """A command with the caller's descriptors as its streams, under its runtime, which waits for it.

    `pid` is the command's, as the host sees it.
    """

    master = -1
    """It has no terminal."""

    def __init__(self, pid: int, runtime: subprocess.Popen[bytes]) -> None:
        self.pid = pid
        self._runtime = runtime
        self._ended: asyncio.Task[int] = asyncio.get_running_loop().create_task(wait_pid_exit(runtime))

    async def wait(self) -> int:
        """Its exit code, 128 plus the number for a signal."""
        code = await asyncio.shield(self._ended)
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """Let go of the command; its runtime is reaped when it ends."""


async def exec_attached(
    runtime: OciRuntime,
    container_id: str,
    bundle: str,
    command: Sequence[str],
    stdio: tuple[int, int, int],
    *,
    cpus: Collection[int] = (),
) -> AttachedCommand:
    """Start `command` in the container, with a runtime that hands its streams down. Returns when it runs.

    Raises RuntimeFailed, with an empty reason: the runtime's words are in the third stream. RuntimeTimeout.
    """
    what = f"execute {command[0]!r} in container {container_id[:12]}"
    files = ExecFiles(bundle, command, terminal=False, cpus=cpus)
    argv = runtime.command("exec", "--process", files.process, "--pid-file", files.pid, container_id)
    executable = runtime.program.executable()
    try:
        child = spawn(argv, stdio, cpus=cpus, executable=executable, env=runtime.program.env)
    except OSError as error:
        files.remove()
        raise RuntimeFailed(what, runtime.name, f"cannot run {runtime.path}: {error.strerror}") from None
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            while not (pid := files.read_pid()):
                # The runtime writes its pid file whole, and before the command can have ended.
                if child.poll() is not None and not files.read_pid():
                    raise RuntimeFailed(what, runtime.name, "")
                await asyncio.sleep(_LOOK)
        return AttachedCommand(pid, child)
    except BaseException as error:
        await asyncio.shield(_end_start(child, files))
        if isinstance(error, TimeoutError):
            raise RuntimeTimeout(
                f"cannot execute {command[0]!r}: {runtime.name} was killed after {_START_TIMEOUT:g} s without an end"
            ) from None
        raise
    finally:
        files.remove()


async def _end_start(child: subprocess.Popen[bytes], files: ExecFiles) -> None:
    """End a runtime that is starting a command, and the command: killed too early it could leave one that has begun."""
    for _ in range(_LAST_LOOKS):
        if child.poll() is not None or files.read_pid():
            break
        await asyncio.sleep(_LOOK)
    await kill_started(files.read_pid())
    await kill_and_reap(child)


async def kill_started(pid: int) -> None:
    """End a command and all that it has started; nothing for pid 0. Goes on when the caller is cancelled."""
    if pid:
        await asyncio.shield(asyncio.to_thread(kill_tree, pid))
