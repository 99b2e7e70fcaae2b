"""Processes started in containers with streams of their own."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal

import pytest

from crio.conmon.client import ExecProcess
from crio.conmon.errors import RuntimeFailed
from crio.conmon.launch import CONSOLE_PLACEHOLDER
from crio.conmon.spec import ExecSpec
from crio.conmon.watch import Monitor
from crio.linux.pty import set_window_size
from monitor_bed import Bed, is_alive
from oci_bundle import process

pytestmark = [pytest.mark.root, pytest.mark.parametrize("runtime", ["/usr/bin/crun", "/usr/sbin/runc"])]


def _spec(bed: Bed, monitor: Monitor, args: list[str], *, terminal: bool) -> ExecSpec:
    stem = f"{monitor.bundle}/exec-{secrets.token_hex(4)}"
    with open(f"{stem}.json", "w") as file:
        json.dump(process(args, terminal=terminal), file)
    console = ["--console-socket", CONSOLE_PLACEHOLDER] if terminal else []
    arguments = ["exec", "--detach", "--process", f"{stem}.json", "--pid-file", f"{stem}.pid", *console, monitor.id]
    return ExecSpec(
        argv=[bed.runtime, "--root", bed.root, *arguments],
        pid_file=f"{stem}.pid",
        directory=monitor.bundle,
        terminal=terminal,
        env=bed.env,
    )


async def _container(bed: Bed, runtime: str) -> Monitor:
    bed.runtime = runtime
    monitor = await bed.create(["sleep", "1000"])
    await bed.start(monitor)
    return monitor


async def _read_to_end(fd: int) -> bytes:
    def read() -> bytes:
        data = b""
        while True:
            try:
                piece = os.read(fd, 65536)
            except OSError:
                return data
            if not piece:
                return data
            data += piece

    return await asyncio.to_thread(read)


async def _run(bed: Bed, spec: ExecSpec) -> tuple[ExecProcess, int, int, int]:
    stdin_read, stdin = os.pipe()
    stdout, stdout_write = os.pipe()
    stderr, stderr_write = os.pipe()
    try:
        started = await bed.zygote.exec(spec, (stdin_read, stdout_write, stderr_write))
    except BaseException:
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        raise
    finally:
        for fd in (stdin_read, stdout_write, stderr_write):
            os.close(fd)
    return started, stdin, stdout, stderr


async def test_pipes_and_exit_code(bed: Bed, runtime: str) -> None:
    monitor = await _container(bed, runtime)
    command = ["sh", "-c", "read a; echo out $a; echo err >&2; exit 6"]
    started, stdin, stdout, stderr = await _run(bed, _spec(bed, monitor, command, terminal=False))
    assert started.master == -1
    os.write(stdin, b"in\n")
    os.close(stdin)
    assert await _read_to_end(stdout) == b"out in\n"
    assert await _read_to_end(stderr) == b"err\n"
    assert await started.wait() == 6
    started.close()
    os.close(stdout)
    os.close(stderr)


async def test_terminal_resize_and_exit_code(bed: Bed, runtime: str) -> None:
    monitor = await _container(bed, runtime)
    command = ["sh", "-c", "read go; stty size; tty; exit 7"]
    started = await bed.zygote.exec(_spec(bed, monitor, command, terminal=True))
    set_window_size(started.master, 21, 43)
    os.write(started.master, b"go\r")
    output = await _read_to_end(started.master)
    assert b"21 43\r\n" in output
    assert b"/dev/pts/0\r\n" in output
    assert await started.wait() == 7
    os.close(started.master)
    started.close()


async def test_closing_the_terminal_hangs_up(bed: Bed, runtime: str) -> None:
    monitor = await _container(bed, runtime)
    started = await bed.zygote.exec(_spec(bed, monitor, ["sleep", "1000"], terminal=True))
    assert is_alive(started.pid)
    os.close(started.master)
    assert await started.wait() == 128 + signal.SIGHUP
    started.close()


async def test_killed_process(bed: Bed, runtime: str) -> None:
    monitor = await _container(bed, runtime)
    started, *fds = await _run(bed, _spec(bed, monitor, ["sleep", "1000"], terminal=False))
    signal.pidfd_send_signal(started.pidfd, signal.SIGKILL)
    assert await started.wait() == 137
    started.close()
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("terminal", [False, True])
async def test_missing_command(bed: Bed, runtime: str, terminal: bool) -> None:
    monitor = await _container(bed, runtime)
    spec = _spec(bed, monitor, ["/no/such/command"], terminal=terminal)
    attempt = bed.zygote.exec(spec) if terminal else _run(bed, spec)
    with pytest.raises(RuntimeFailed, match="cannot execute the command"):
        await attempt


async def test_zygote_killed_before_it_reads_the_request_is_replaced(bed: Bed, runtime: str) -> None:
    monitor = await _container(bed, runtime)
    zygote = bed.zygote.pid
    os.kill(zygote, signal.SIGSTOP)
    spec = _spec(bed, monitor, ["sh", "-c", "echo once; exit 4"], terminal=False)
    running = asyncio.ensure_future(_run(bed, spec))
    await asyncio.sleep(0.05)
    os.kill(zygote, signal.SIGKILL)
    started, stdin, stdout, stderr = await running
    assert await _read_to_end(stdout) == b"once\n"
    assert await started.wait() == 4
    started.close()
    for fd in (stdin, stdout, stderr):
        os.close(fd)


async def test_process_outlives_the_daemons_interest(bed: Bed, runtime: str) -> None:
    monitor = await _container(bed, runtime)
    started, *fds = await _run(bed, _spec(bed, monitor, ["sleep", "1000"], terminal=False))
    started.close()
    for fd in fds:
        os.close(fd)
    await asyncio.sleep(0.1)
    assert is_alive(started.pid)
    os.kill(started.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while is_alive(started.pid):
            await asyncio.sleep(0.01)
