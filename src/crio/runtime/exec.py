"""Running a command in a container to its end: no monitor process, bounded output, bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Sequence

import msgspec

from crio.base.errors import CrioError
from crio.base.files import read_bounded, write_new
from crio.base.process import ProcessTimeout, run
from crio.conmon.errors import RuntimeFailed, sentence
from crio.linux.process_tree import kill_tree
from crio.runtime.driver import OciRuntime

MAX_OUTPUT = 16 << 20
"""Bytes of each stream that are kept (CVE-2022-1708); the rest is read and dropped."""

_CONFIG_LIMIT = 8 << 20
_FOREVER = 365 * 86400.0


class ExecResult(msgspec.Struct, frozen=True):
    """How a command ended. `timed_out`: it was killed for taking too long, and has no exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    timed_out: bool = False


class _Config(msgspec.Struct):
    process: dict[str, msgspec.Raw]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Config)


def process_document(config: bytes, command: Sequence[str], *, terminal: bool) -> bytes:
    """The `process` of a container's config.json with another command: same user, rights and environment."""
    process = dict(_decoder.decode(config).process)
    process["args"] = msgspec.Raw(_encoder.encode(list(command)))
    process["terminal"] = msgspec.Raw(b"true" if terminal else b"false")
    process.pop("consoleSize", None)
    return _encoder.encode(process)


class ExecFiles:
    """The files of one exec in the container's bundle: what to run, and the pid that the runtime writes."""

    def __init__(self, bundle: str, command: Sequence[str], *, terminal: bool) -> None:
        stem = os.path.join(bundle, f"exec-{secrets.token_hex(6)}")
        self.process, self.pid = f"{stem}.json", f"{stem}.pid"
        config = read_bounded(os.path.join(bundle, "config.json"), _CONFIG_LIMIT)
        write_new(self.process, process_document(config, command, terminal=terminal))

    def read_pid(self) -> int:
        """The process' pid as the host sees it; 0 before the runtime has started it."""
        try:
            return int(read_bounded(self.pid, 32))
        except (OSError, ValueError, CrioError):
            return 0

    def remove(self) -> None:
        for path in (self.process, self.pid):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


async def exec_sync(
    runtime: OciRuntime, container_id: str, bundle: str, command: Sequence[str], timeout: float
) -> ExecResult:
    """Run `command` in the container and return its output and exit code.

    `timeout` in seconds, 0 for none; then the command is killed with all that it has started. The answer does not wait
    for children of the command that hold its output open. Raises RuntimeFailed if the command cannot be started.
    """
    files = ExecFiles(bundle, command, terminal=False)
    argv = runtime.command("exec", "--process", files.process, "--pid-file", files.pid, container_id)

    async def kill_command() -> None:
        await kill_started(files.read_pid())

    try:
        # The runtime must outlive the command: it is the command's parent, and nobody else would reap it.
        done = await run(argv, timeout=timeout or _FOREVER, max_output=MAX_OUTPUT, check=False, interrupt=kill_command)
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


async def kill_started(pid: int) -> None:
    """End a command and all that it has started; nothing for pid 0. Goes on when the caller is cancelled."""
    if pid:
        await asyncio.shield(asyncio.to_thread(kill_tree, pid))
