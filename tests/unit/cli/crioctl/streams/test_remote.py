"""crioctl as a program, in a real terminal where it wants one, against the project's streaming server."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.wire.remotecommand import Size
from fake_cri import FakeCri
from streaming_bed import Bed

SRC = str(Path(__file__).parents[5] / "src")
ENVIRONMENT = {**os.environ, "PYTHONPATH": SRC}
POD, WEB = "1a" * 32, "2c" * 32

pytestmark = pytest.mark.parametrize("transport", ["websocket", "spdy"])


@pytest.fixture
def cri(tmp_path: Path) -> Iterator[FakeCri]:
    fake = FakeCri(str(tmp_path / "cri.sock"))
    fake.add_pod(POD, "shop")
    fake.add_container(WEB, POD, "web")
    yield fake
    fake.stop()


def command(cri: FakeCri, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "crio.cli.crioctl", "-r", cri.endpoint, *arguments]


async def crioctl(cri: FakeCri, *arguments: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
    child = await asyncio.create_subprocess_exec(
        *command(cri, *arguments),
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    out, err = await asyncio.wait_for(child.communicate(stdin), 60)
    assert child.returncode is not None
    return child.returncode, out, err


def serve_exec(
    cri: FakeCri, bed: Bed, *words: str, tty: bool = False, stdin: bool = False, container: str = "c"
) -> None:
    cri.answers["Exec"] = pb.ExecResponse(url=bed.exec_url(*words, tty=tty, stdin=stdin, container=container))
    cri.start()


async def test_output_and_exit_code(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        serve_exec(cri, bed, "sh", "-c", "echo out; echo err >&2; exit 7")
        assert await crioctl(cri, "exec", "-r", transport, "web", "sh") == (7, b"out\n", b"err\n")
    (request,) = cri.requests("Exec")
    assert request == pb.ExecRequest(container_id=WEB, cmd=["sh"], stdout=True, stderr=True)


async def test_stdin_and_much_output(cri: FakeCri, transport: str) -> None:
    data = os.urandom(3 << 20)
    async with Bed() as bed:
        # Before version 5 stdin has no end, so that the command must know when it has enough.
        serve_exec(cri, bed, "head", "-c", str(len(data)), stdin=True)
        code, out, err = await crioctl(cri, "exec", "-i", "-r", transport, "web", "head", stdin=data)
    assert (code, err) == (0, b"")
    assert out == data


async def test_the_end_of_stdin_is_passed_on(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        serve_exec(cri, bed, "wc", "-c", stdin=True)
        assert await crioctl(cri, "exec", "-i", "-r", transport, "web", "wc", stdin=b"abc") == (0, b"3\n", b"")


async def test_stdin_from_a_file(cri: FakeCri, transport: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 200_000)
    async with Bed() as bed:
        serve_exec(cri, bed, "wc", "-c", stdin=True)
        with (tmp_path / "in").open("rb") as file:
            child = await asyncio.create_subprocess_exec(
                *command(cri, "exec", "-i", "-r", transport, "web", "wc"),
                stdin=file,
                stdout=subprocess.PIPE,
                env=ENVIRONMENT,
            )
            out, _ = await asyncio.wait_for(child.communicate(), 60)
    assert out == b"200000\n"


async def test_a_command_that_does_not_read_its_stdin(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        serve_exec(cri, bed, "sh", "-c", "exit 4", stdin=True)
        code, *_ = await crioctl(cri, "exec", "-i", "-r", transport, "web", "sh", stdin=b"y" * (2 << 20))
    assert code == 4


async def test_an_error_of_the_server(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        serve_exec(cri, bed, "true", container="missing")
        code, out, err = await crioctl(cri, "exec", "-r", transport, "web", "true")
    assert (code, out) == (1, b"")
    assert b"cannot find container missing: no such id" in err
    assert err.count(b"\n") == 1


async def test_a_used_token(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        serve_exec(cri, bed, "true")
        assert (await crioctl(cri, "exec", "-r", transport, "web", "true"))[0] == 0
        code, _, err = await crioctl(cri, "exec", "-r", transport, "web", "true")
    assert code == 1
    assert b"HTTP status 404" in err


async def test_nobody_at_the_address(cri: FakeCri, transport: str) -> None:
    cri.answers["Exec"] = pb.ExecResponse(url="http://127.0.0.1:1/exec/x")
    cri.start()
    code, _, err = await crioctl(cri, "exec", "-r", transport, "web", "true")
    assert code == 1
    assert err.startswith(b"crioctl: cannot connect to the streaming server 127.0.0.1:1: ")


async def test_a_connection_that_breaks_off(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        serve_exec(cri, bed, "sh", "-c", "echo up; sleep 60")
        child = await asyncio.create_subprocess_exec(
            *command(cri, "exec", "-r", transport, "web", "sh"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"up\n"
        await bed.server.stop()
        _, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 1
    assert b"ended before the command did" in err


class Terminal:
    """crioctl at the far end of a pseudo-terminal of 30 lines and 90 columns."""

    def __init__(self, argv: list[str]) -> None:
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(30, 90)
        self.before = termios.tcgetattr(slave)
        self.child = subprocess.Popen(
            ["setsid", "--ctty", *argv], stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT
        )
        os.set_blocking(self.master, False)
        self.seen = b""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    async def wait_for(self, text: bytes) -> None:
        async with asyncio.timeout(60):
            while text not in self.seen:
                try:
                    self.seen += os.read(self.master, 65536)
                except BlockingIOError:
                    await asyncio.sleep(0.01)

    async def finish(self) -> int:
        code = await asyncio.wait_for(asyncio.to_thread(self.child.wait), 60)
        try:
            self.seen += os.read(self.master, 65536)
        except (BlockingIOError, OSError):
            pass
        return code

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        os.close(self.slave)
        os.close(self.master)


async def test_terminal_with_its_size_and_its_changes(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        script = "echo ready; while read line; do echo got $line; [ $line = end ] && exit 9; done"
        serve_exec(cri, bed, "bash", "-c", script, tty=True, stdin=True)
        terminal = Terminal(command(cri, "exec", "-it", "-r", transport, "web", "bash"))
        try:
            await terminal.wait_for(b"ready\r\n")
            async with asyncio.timeout(60):
                while not bed.executor.processes[0].sizes:
                    await asyncio.sleep(0.01)
            assert bed.executor.processes[0].sizes[0] == Size(30, 90)
            terminal.resize(40, 100)
            async with asyncio.timeout(60):
                while bed.executor.processes[0].sizes[-1] != Size(40, 100):
                    await asyncio.sleep(0.01)
            terminal.type(b"first\r")
            await terminal.wait_for(b"got first")
            terminal.type(b"end\r")
            assert await terminal.finish() == 9
            assert termios.tcgetattr(terminal.slave) == terminal.before
        finally:
            terminal.close()


async def test_control_c_goes_to_the_command(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        serve_exec(
            cri,
            bed,
            "bash",
            "-c",
            "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done",
            tty=True,
            stdin=True,
        )
        terminal = Terminal(command(cri, "exec", "-it", "-r", transport, "web", "bash"))
        try:
            await terminal.wait_for(b"ready")
            terminal.type(b"\x03")
            await terminal.wait_for(b"caught")
            assert await terminal.finish() == 3
        finally:
            terminal.close()


async def test_detach_keys(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        serve_exec(cri, bed, "sh", "-c", "echo ready; exec cat", tty=True, stdin=True)
        terminal = Terminal(command(cri, "exec", "-it", "-r", transport, "web", "sh"))
        try:
            await terminal.wait_for(b"ready")
            terminal.type(b"hello\r")
            await terminal.wait_for(b"hello\r\nhello\r\n")
            terminal.type(b"\x10\x11")
            assert await terminal.finish() == 0
            assert termios.tcgetattr(terminal.slave) == terminal.before
        finally:
            terminal.close()


async def test_a_signal_puts_the_terminal_back(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        serve_exec(cri, bed, "sh", "-c", "echo ready; exec sleep 60", tty=True, stdin=True)
        terminal = Terminal(command(cri, "exec", "-it", "-r", transport, "web", "sh"))
        try:
            await terminal.wait_for(b"ready")
            assert termios.tcgetattr(terminal.slave) != terminal.before
            terminal.child.send_signal(signal.SIGTERM)
            assert await terminal.finish() == 1
            assert termios.tcgetattr(terminal.slave) == terminal.before
        finally:
            terminal.close()


async def test_attach(cri: FakeCri, transport: str) -> None:
    async with Bed() as bed:
        cri.answers["Attach"] = pb.AttachResponse(url=bed.attach_url())
        cri.start()
        running = asyncio.ensure_future(crioctl(cri, "attach", "-i", "-r", transport, "web", stdin=b"typed"))
        async with asyncio.timeout(60):
            while not bed.attacher.ends:
                await asyncio.sleep(0.01)
            end = bed.attacher.ends[0]
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(end, 100) == b"typed"
            end.send(b"\x02to stdout\n")
            end.send(b"\x03to stderr\n")
            end.close()
            code, out, err = await running
    assert (code, out, err) == (0, b"to stdout\n", b"to stderr\n")
    assert cri.requests("Attach")[0] == pb.AttachRequest(container_id=WEB, stdin=True, stdout=True, stderr=True)
