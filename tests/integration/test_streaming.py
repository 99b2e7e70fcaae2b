"""Exec, attach and port-forward through a whole daemon, as kubectl, crictl and Kubernetes' Python client use it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.cli.crioctl.streams.forward import Forwarder, connect, parse_ports
from crio.cli.crioctl.streams.pipe import Tls
from crio.cli.crioctl.streams.remote import Wanted, open_channels
from crio.linux.namespaces import run_in_netns
from crio.rpc.status import RpcError
from crio.wire.remotecommand import ERROR, STDERR, STDIN, STDOUT, Outcome, decode_outcome
from node import PATIENCE, Node, running, until
from registry_server import free_port

pytestmark = pytest.mark.root

TRANSPORTS = pytest.mark.parametrize("transport", ["spdy", "websocket"])
CRICTL = os.environ.get("CRICTL") or shutil.which("crictl") or ""
ONE_RUNTIME = pytest.mark.parametrize("node", ["crun"], indirect=True)
"""For what does not depend on the OCI runtime."""
_SERVER = "while :; do nc -l -p 8080 -e cat; done"


async def _container(node: Node, command: Sequence[str] = ("sleep", "1000"), **options: Any) -> tuple[str, str]:
    config = node.pod_config(**options.pop("pod", {}))
    if options.pop("host_network", False):
        node.host_network(config)
    pod = await node.run_pod(config, options.pop("handler", ""))
    wanted = node.container_config(command)
    for name, value in options.items():
        setattr(wanted, name, value)
    container = await node.create(pod, wanted, config)
    await node.start_container(container)
    return pod, container


async def _exec_url(
    node: Node, container: str, command: Sequence[str], *, stdin: bool = False, tty: bool = False
) -> str:
    request = pb.ExecRequest(container_id=container, cmd=command, stdin=stdin, stdout=True, stderr=not tty, tty=tty)
    return (await node.call("Exec", request, pb.ExecResponse)).url


async def _run(
    node: Node, container: str, *command: str, stdin: bytes | None = None, tty: bool = False, transport: str = "spdy"
) -> tuple[dict[int, bytes], Outcome]:
    """What a command writes, by channel, and how it ends."""
    url = await _exec_url(node, container, command, stdin=stdin is not None, tty=tty)
    channels = await open_channels(url, Wanted(stdin is not None, tty, transport))
    received = {STDOUT: b"", STDERR: b"", ERROR: b""}
    try:
        if stdin is not None:
            await channels.send(STDIN, stdin)
            await channels.end(STDIN)
        async with asyncio.timeout(PATIENCE):
            async for channel, data in channels.received():
                received[channel] += data
    finally:
        await channels.close()
    return received, decode_outcome(received[ERROR])


@TRANSPORTS
async def test_exec(node: Node, transport: str) -> None:
    _, container = await _container(node)
    received, outcome = await _run(node, container, "sh", "-c", "echo out; echo err >&2; exit 5", transport=transport)
    assert (received[STDOUT], received[STDERR], outcome.exit_code) == (b"out\n", b"err\n", 5)
    data = bytes(range(256)) * 4096
    received, outcome = await _run(node, container, "cat", stdin=data, transport=transport)
    assert (received[STDOUT], outcome.exit_code) == (data, 0)
    received, outcome = await _run(node, container, "sh", "-c", "tty; kill -9 $$", tty=True, transport=transport)
    assert received[STDOUT].startswith(b"/dev/pts/")
    assert outcome.exit_code == 137
    _, outcome = await _run(node, container, "/no/such/program", transport=transport)
    assert outcome.exit_code is None
    assert "cannot execute" in outcome.message
    assert "/no/such/program" in outcome.message
    assert not [name for name in os.listdir(node.root / "state" / "containers" / container) if name.startswith("exec-")]


@pytest.mark.parametrize("tty", [False, True])
async def test_commands_end_with_their_container(node: Node, tty: bool) -> None:
    _, container = await _container(node)
    asked = asyncio.ensure_future(_run(node, container, "sh", "-c", "echo up > /up; exec sleep 1000", tty=tty))
    up = Path(f"/proc/{await _pid(node, container)}/root/up")
    await until("the command runs", lambda: asked.done() or up.exists())
    await node.stop_container(container, timeout=0)
    _, outcome = await asked
    assert outcome.exit_code == 137
    with pytest.raises(RpcError, match="not RUNNING") as caught:
        await _exec_url(node, container, ["true"])
    assert caught.value.code is Code.NOT_FOUND


@ONE_RUNTIME
async def test_client_that_leaves_takes_its_terminal_and_leaves_other_commands(node: Node) -> None:
    """A terminal hangs up on its command; another command sees a broken pipe when it writes."""
    _, container = await _container(node)
    for tty, command in ((True, "sleep 4001"), (False, "while :; do echo x; sleep 0.1; done; : 4002")):
        url = await _exec_url(node, container, ["sh", "-c", f"echo up; {command}"], tty=tty)
        channels = await open_channels(url, Wanted(False, tty, "spdy"))
        async for _ in channels.received():
            break
        await channels.close()
    async with asyncio.timeout(PATIENCE):
        while b"400" in (await node.exec(container, "ps", "-o", "args")).stdout:
            await asyncio.sleep(0.1)


async def test_place_of_commands(scratch: Path, layout: str) -> None:
    """exec_cpu_affinity and monitor_exec_cgroup."""
    node = Node(scratch / "node")
    base = f'runtime_path = "{shutil.which("crun")}"\nruntime_root = "{node.root}/run-crun"\nmonitor_cgroup = "pod"\n'
    (node.root / "conf.d" / "10-handlers.conf").write_text(
        f'[crio.runtime.runtimes.pinned]\n{base}exec_cpu_affinity = "first"\n'
        f'[crio.runtime.runtimes.inside]\n{base}monitor_exec_cgroup = "container"\nexec_cpu_affinity = "first"\n'
    )
    async with running(node, layout):
        for handler in ("pinned", "inside"):
            config = node.pod_config(handler)
            pod = await node.run_pod(config, handler)
            wanted = node.container_config(["sleep", "1000"])
            wanted.linux.resources.cpuset_cpus = "0-1"
            container = await node.create(pod, wanted, config)
            await node.start_container(container)
            look = ("grep", "Cpus_allowed_list", "/proc/self/status")
            assert (await node.exec(container, *look)).stdout.split() == [b"Cpus_allowed_list:", b"0"]
            for tty in (False, True):
                received, _ = await _run(node, container, *look, tty=tty)
                assert received[STDOUT].split() == [b"Cpus_allowed_list:", b"0"]
            with open(f"/proc/{await _pid(node, container)}/status") as file:
                assert "Cpus_allowed_list:\t0-1\n" in file.read()
        asked = asyncio.ensure_future(_run(node, container, "sh", "-c", "sleep 4003; true"))
        assert "conmon" in await _group_with(container, "sleep 4003")
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked


async def _pid(node: Node, container: str) -> int:
    return int((node.root / "state" / "containers" / container / "pid").read_text())


async def _group_with(container: str, command: str) -> set[str]:
    """The names of the processes of the container's memory group, or of one in it, once `command` is among them."""
    root = "/sys/fs/cgroup/memory" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup"
    async with asyncio.timeout(PATIENCE):
        while True:
            for directory, _, _ in os.walk(root):
                if f"/crio-{container}" not in directory:
                    continue
                # Groups and processes come and go.
                with contextlib.suppress(OSError):
                    pids = [int(line) for line in (Path(directory) / "cgroup.procs").read_text().split()]
                    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in pids]
                    if any(line.strip() == command for line in lines):
                        return {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _forwarded(node: Node, pod: str, port: int, transport: str) -> AsyncIterator[int]:
    """A local port that leads to a pod's."""
    request = pb.PortForwardRequest(pod_sandbox_id=pod, port=[port])
    url = (await node.call("PortForward", request, pb.PortForwardResponse)).url
    local = free_port()
    link = await connect(url, transport, Tls())
    asked = asyncio.ensure_future(Forwarder(link).run([parse_ports(f"{local}:{port}")]))
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", local)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield local
    finally:
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await link.close()


async def _echo(port: int, data: bytes) -> bytes:
    """What comes back from a server of one connection at a time, which is not there between two of them."""
    async with asyncio.timeout(PATIENCE):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            try:
                return await reader.readexactly(len(data))
            except (asyncio.IncompleteReadError, OSError):
                await asyncio.sleep(0.1)
            finally:
                writer.close()


def _serve_once(server: socket.socket) -> None:
    """Send back what the first client says that says anything."""
    while True:
        connection, _ = server.accept()
        with connection:
            if data := connection.recv(100):
                connection.sendall(data)
                return


async def _one_echo(node: Node, pod: str, server: socket.socket, transport: str) -> bytes:
    server.settimeout(PATIENCE)
    async with _forwarded(node, pod, server.getsockname()[1], transport) as local:
        served = asyncio.create_task(asyncio.to_thread(_serve_once, server))
        answer = await _echo(local, b"there and back")
        await served
        return answer


@ONE_RUNTIME
@TRANSPORTS
async def test_port_forward(node: Node, transport: str) -> None:
    pod, _ = await _container(node, ["sh", "-c", _SERVER])
    async with _forwarded(node, pod, 8080, transport) as local:
        data = os.urandom(300_000)
        assert await _echo(local, data) == data
    # What listens on IPv6 only: the address that is tried second.
    server = run_in_netns(
        str(node.root / "ns" / "netns" / pod), lambda: socket.create_server(("::1", 0), family=socket.AF_INET6)
    )
    with server:
        assert await _one_echo(node, pod, server, transport) == b"there and back"


@ONE_RUNTIME
async def test_port_forward_to_a_pod_on_the_hosts_network(node: Node) -> None:
    pod, _ = await _container(node, host_network=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert await _one_echo(node, pod, server, "spdy") == b"there and back"


@ONE_RUNTIME
async def test_attach_with_several_clients(node: Node) -> None:
    command = ["sh", "-c", "while read line; do echo got $line; done"]
    _, container = await _container(node, command, stdin=True)
    url = []
    for stdin in (True, False):
        request = pb.AttachRequest(container_id=container, stdin=stdin, stdout=True, stderr=True)
        url.append((await node.call("Attach", request, pb.AttachResponse)).url)
    writer = await open_channels(url[0], Wanted(True, False, "websocket"))
    reader = await open_channels(url[1], Wanted(False, False, "spdy"))
    received: list[bytes] = [b"", b""]

    async def read(number: int) -> None:
        async for channel, data in (writer, reader)[number].received():
            received[number] += data if channel == STDOUT else b""

    reading = [asyncio.ensure_future(read(number)) for number in range(2)]
    async with asyncio.timeout(PATIENCE):
        while not all(b"got last\n" in text for text in received):
            await writer.send(STDIN, b"last\n")  # the second client comes when it comes
            await asyncio.sleep(0.05)
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    for each in (writer, reader):
        await each.close()
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING


@ONE_RUNTIME
async def test_log_that_cannot_be_written_is_reported(node: Node) -> None:
    config = node.pod_config()
    directory = Path(config.log_directory)
    directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)], check=True)
    try:
        pod = await node.run_pod(config)
        wanted = node.container_config(["sh", "-c", "seq 1 20000; exec sleep 1000"])
        container = await node.create(pod, wanted, config)
        await node.start_container(container)
        async with asyncio.timeout(PATIENCE):
            while "cannot be written, and output is dropped: No space left on device" not in node.log_tail(400):
                await asyncio.sleep(0.05)
        assert (await node.status(container)).state == pb.CONTAINER_RUNNING
        await node.stop_container(container)
        assert "could not be logged: No space left on device" in (await node.status(container)).message
        await node.remove_pod(pod)
    finally:
        # Its monitor may be about to end.
        subprocess.run(["umount", "-l", str(directory)], check=True)


def _crictl(node: Node) -> list[str]:
    return [CRICTL, "--runtime-endpoint", node.endpoint, "--image-endpoint", node.endpoint]


@pytest.mark.skipif(not CRICTL, reason="crictl is not installed: put it on the PATH, or name it in CRICTL")
@ONE_RUNTIME
@TRANSPORTS
async def test_crictl(node: Node, transport: str) -> None:
    pod, container = await _container(
        node, ["sh", "-c", f"{_SERVER} & while read line; do echo got $line; done"], stdin=True
    )

    async def crictl(*arguments: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            *_crictl(node),
            *arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin)
        return process.returncode or 0, out, err

    code, out, err = await crictl(
        "exec", "--transport", transport, container, "sh", "-c", "echo out; echo err >&2; exit 3"
    )
    assert (code != 0, out) == (True, b"out\n"), err
    assert b"err\n" in err
    assert b"exit code 3" in err or b"status 3" in err or code == 3
    data = os.urandom(500_000).hex().encode()
    code, out, _ = await crictl("exec", "-i", "--transport", transport, container, "wc", "-c", stdin=data)
    assert (code, int(out)) == (0, len(data))
    code, out, _ = await crictl("exec", "-s", container, "echo", "sync")
    assert (code, out.strip()) == (0, b"sync")
    forward = await asyncio.create_subprocess_exec(
        *_crictl(node),
        "port-forward",
        "--transport",
        transport,
        pod,
        ":8080",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert forward.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            line = await forward.stdout.readline()
            local = int(line.split(b":")[1].split()[0])
            payload = os.urandom(200_000)
            assert await _echo(local, payload) == payload
    finally:
        forward.send_signal(signal.SIGTERM)
        await forward.wait()
    attached = await asyncio.create_subprocess_exec(
        *_crictl(node),
        "attach",
        "-i",
        "--transport",
        transport,
        container,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert attached.stdin is not None
    assert attached.stdout is not None
    attached.stdin.write(b"hello\n")
    async with asyncio.timeout(PATIENCE):
        assert await attached.stdout.readline() == b"got hello\n"
    attached.kill()
    await attached.wait()


@ONE_RUNTIME
async def test_python_client_of_kubernetes(node: Node) -> None:
    """Its stream API with the URL of the runtime in place of the API server's, which passes the streams on."""
    ws_client: Any = pytest.importorskip("kubernetes.stream.ws_client")
    configuration: Any = pytest.importorskip("kubernetes.client").Configuration()

    pod, container = await _container(
        node, ["sh", "-c", f"{_SERVER} & while read line; do echo got $line; done"], stdin=True
    )

    def execute(url: str) -> tuple[str, str, int]:
        client = ws_client.WSClient(configuration, ws_client.get_websocket_url(url), None, True)
        client.run_forever(timeout=60)
        return client.read_channel(STDOUT), client.read_channel(STDERR), client.returncode

    url = await _exec_url(node, container, ["sh", "-c", "echo out; echo err >&2; exit 4"])
    assert await asyncio.to_thread(execute, url) == ("out\n", "err\n", 4)

    def talk(url: str, line: str) -> str:
        client = ws_client.WSClient(configuration, ws_client.get_websocket_url(url), None, True)
        client.write_stdin(line)
        answer = client.readline_stdout(timeout=60)
        client.close()
        return str(answer)

    url = await _exec_url(node, container, ["cat"], stdin=True)
    assert await asyncio.to_thread(talk, url, "line\n") == "line"
    request = pb.AttachRequest(container_id=container, stdin=True, stdout=True, stderr=True)
    url = (await node.call("Attach", request, pb.AttachResponse)).url
    assert await asyncio.to_thread(talk, url, "hello\n") == "got hello"

    def forward(url: str, data: bytes) -> bytes:
        connection = ws_client.create_websocket(configuration, ws_client.get_websocket_url(url))
        client = ws_client.PortForward(connection, [8080])
        local = client.socket(8080)
        local.settimeout(60)
        local.sendall(data)
        answer = b""
        while len(answer) < len(data) and (piece := local.recv(65536)):
            answer += piece
        local.close()
        return answer

    forwarding = pb.PortForwardRequest(pod_sandbox_id=pod, port=[8080])
    url = (await node.call("PortForward", forwarding, pb.PortForwardResponse)).url
    payload = os.urandom(100_000)
    assert await asyncio.to_thread(forward, url, payload) == payload


class _Tmux:
    """A terminal multiplexer of its own with one window of 30 lines and 90 columns, in which a shell command runs."""

    def __init__(self, directory: Path, command: str) -> None:
        # A socket of its own: the server of the window before may still be on its way out.
        self._base = ["tmux", "-S", str(directory / f"tmux-{secrets.token_hex(2)}"), "-f", "/dev/null"]
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
        start = ["new-session", "-d", "-x", "90", "-y", "30", f"{command}; echo code=$?; sleep 1000"]
        subprocess.run([*self._base, *start, ";", "set", "-g", "status", "off"], check=True, env=environment)
        self.resize(90, 30)

    def _run(self, *arguments: str) -> str:
        return subprocess.run([*self._base, *arguments], check=True, capture_output=True, text=True).stdout

    def resize(self, columns: int, lines: int) -> None:
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    def type(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    async def wait_for(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while text not in (screen := self._run("capture-pane", "-p")):
            assert time.monotonic() < end, screen
            await asyncio.sleep(0.05)

    def close(self) -> None:
        subprocess.run([*self._base, "kill-server"], check=False, capture_output=True)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@ONE_RUNTIME
async def test_crioctl_in_a_terminal(node: Node) -> None:
    _, container = await _container(node, ["sh", "-c", "while :; do echo tick; sleep 0.2; done"], tty=True, stdin=True)
    program = f"{Path(sys.executable).parent / 'crioctl'} --runtime-endpoint {node.endpoint}"

    @contextlib.contextmanager
    def window(command: str) -> Iterator[_Tmux]:
        terminal = _Tmux(node.root, f"{program} {command}")
        try:
            yield terminal
        finally:
            terminal.close()

    with window(f"exec -it {container} sh") as terminal:
        terminal.type("stty size; echo $((6*7))", "Enter")
        await terminal.wait_for("30 90")
        await terminal.wait_for("42")
        terminal.resize(120, 40)
        terminal.type("until stty size | grep '40 120'; do sleep 0.1; done", "Enter")
        await terminal.wait_for("\n40 120")
        terminal.type("sleep 4321", "Enter")
        async with asyncio.timeout(PATIENCE):
            while b"sleep 4321" not in (await node.exec(container, "ps", "-o", "args")).stdout:
                await asyncio.sleep(0.05)
        terminal.type("C-c")
        terminal.type("exit 7", "Enter")
        await terminal.wait_for("code=7")
    with window(f"attach -it {container}") as terminal:
        await terminal.wait_for("tick")
        terminal.type("C-p", "C-q")
        await terminal.wait_for("code=0")
        terminal.type("echoed", "Enter")  # the terminal is as it was
        await terminal.wait_for("echoed")
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING
    with window(f"logs -f {container}") as terminal:
        await terminal.wait_for("tick")
        terminal.type("C-c")
        await terminal.wait_for("code=0")
    with window("top") as terminal:
        await terminal.wait_for(container[:12])
        terminal.type("q")
        await terminal.wait_for("code=0")
