"""The daemon as a process: what it tells the service manager, its signals, its reload, and one of it at a time."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import pstats
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.tls import ensure_certificate
from crio.cli.crio_commands.inspect_client import get
from node import Node, until
from registry_server import free_port


class Manager:
    """The end of NOTIFY_SOCKET that systemd has."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.states: list[str] = []

    def told(self, state: str) -> bool:
        while True:
            try:
                self.states += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return any(each.startswith(state) for each in self.states)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def fresh(scratch: Path) -> Iterator[Node]:
    """A node that is not started yet."""
    node = Node(scratch / "node")
    yield node
    if node.process is not None and node.process.poll() is None:
        node.kill()
    node.remove_files()


async def test_the_service_manager_is_told_everything(fresh: Node) -> None:
    manager = Manager(fresh.root / "notify")
    fresh.env |= {"NOTIFY_SOCKET": str(fresh.root / "notify"), "WATCHDOG_USEC": "400000"}
    try:
        await fresh.start()
        assert fresh.process is not None
        await until("READY", lambda: manager.told("READY=1"))
        assert manager.told(f"STATUS=serving on {fresh.socket}")
        manager.states.clear()
        await until("signs of life", lambda: manager.told("WATCHDOG=1"))
        fresh.process.send_signal(signal.SIGHUP)
        await until("RELOADING", lambda: manager.told("RELOADING=1"))
        assert manager.told("MONOTONIC_USEC=")
        await until("READY again", lambda: manager.told("READY=1"))

        # A loop that hangs gives no sign of life: here the whole process stands still.
        fresh.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.3)
        manager.told("")
        manager.states.clear()
        await asyncio.sleep(1.0)
        assert not manager.told("WATCHDOG=1")
        fresh.process.send_signal(signal.SIGCONT)
        await until("alive again", lambda: manager.told("WATCHDOG=1"))
        assert await fresh.stop() == 0
        assert manager.told("STOPPING=1")
    finally:
        manager.close()
        fresh.remove_files()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_clean_stop_is_noted(fresh: Node, number: signal.Signals) -> None:
    clean = fresh.root / "lib" / "clean.shutdown"
    try:
        await fresh.start()
        assert not clean.exists()
        assert clean.with_name("clean.shutdown.supported").exists()
        assert json.loads((fresh.root / "state" / "version").read_text())
        assert fresh.process is not None
        await fresh.close_client()
        fresh.process.send_signal(number)
        assert await asyncio.to_thread(fresh.process.wait, 60) == 0
        assert clean.exists()
        assert not fresh.socket.exists()
    finally:
        fresh.remove_files()


async def test_signals_that_do_not_end_it(fresh: Node) -> None:
    try:
        await fresh.start()
        process = fresh.process
        assert process is not None
        for number in (signal.SIGPIPE, signal.SIGUSR2, signal.SIGUSR1):
            process.send_signal(number)
        await until("the stacks", lambda: "stacks of all" in fresh.log_tail())
        line = next(line for line in fresh.log_tail().splitlines() if "stacks of all" in line)
        path = Path(line.split("are in ", 1)[1].split('"')[0])
        assert path.name.startswith("crio-goroutine-stacks-")
        text = path.read_text()
        path.unlink()
        assert "thread" in text
        assert "chores" in text
        assert await fresh.pods() == []
        assert await fresh.stop() == 0
    finally:
        fresh.remove_files()


async def test_there_is_one_of_it(fresh: Node, scratch: Path) -> None:
    """Neither the same state directory nor the same socket can have two; a dead socket is no obstacle."""
    other = Node(scratch / "other")
    try:
        await fresh.start()
        again = await asyncio.to_thread(run_crio, fresh, timeout=60)
        assert again.returncode == 1
        assert "another crio runs with the state directory" in again.stderr
        other.socket = fresh.socket
        other.write_config()
        again = await asyncio.to_thread(run_crio, other, timeout=60)
        assert again.returncode == 1
        assert str(fresh.socket) in again.stderr
        assert await fresh.pods() == []
        await fresh.close_client()
        fresh.kill()
        assert fresh.socket.exists()
        await fresh.start()
        assert await fresh.stop() == 0
    finally:
        fresh.remove_files()
        other.remove_files()


def run_crio(node: Node, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "CONTAINERS_STORAGE_CONF": "/dev/null"}
    argv = [str(Path(sys.executable).parent / "crio"), "--config", f"{node.root}/crio.conf", "--config-dir"]
    return subprocess.run(
        [*argv, f"{node.root}/conf.d", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout,
        check=False,
    )


def config_of(node: Node) -> str:
    return get(str(node.socket), "/config").decode()


async def test_a_reload_takes_all_of_it_or_nothing(fresh: Node) -> None:
    drop_in = fresh.root / "conf.d" / "50-test.conf"
    manager = Manager(fresh.root / "notify")
    fresh.env |= {"NOTIFY_SOCKET": str(fresh.root / "notify")}

    async def reload(text: str) -> str:
        drop_in.write_text(text)
        manager.told("")
        manager.states.clear()
        assert fresh.process is not None
        fresh.process.send_signal(signal.SIGHUP)
        await until("the end of the reload", lambda: manager.told("READY=1"))
        return next(each for each in manager.states if each.startswith("STATUS="))

    try:
        await fresh.start()
        told = await reload(
            '[crio]\nlog_dir = "/tmp/other"\nroot = "/elsewhere"\n'
            '[crio.runtime]\nlog_level = "info"\ndefault_sysctls = ["net.ipv4.ip_unprivileged_port_start=0"]\n'
            f'[crio.runtime.runtimes.third]\nruntime_path = "/usr/bin/crun"\nruntime_root = "{fresh.root}/third"\n'
            '[crio.network]\ncni_default_network = "nothing"\n'
        )
        assert "1 more need a restart" in told
        config = await asyncio.to_thread(config_of, fresh)
        assert 'log_dir = "/tmp/other"' in config
        assert "[crio.runtime.runtimes.third]" in config
        assert f'root = "{fresh.root}/storage"' in config
        log = fresh.log_tail()
        assert "needs a restart: crio.root" in log
        pod_config = fresh.pod_config()
        with pytest.raises(Exception, match="nothing"):
            await fresh.run_pod(pod_config)

        for wrong in (
            '[crio]\nlog_dir = "/tmp/third"\n[crio.runtime]\nlog_level = "loud"\n',
            '[crio]\nlog_dir = "/tmp/third"\n[crio.runtime]\nseccomp_profile = "/etc/passwd"\n',
            '[crio]\nlog_dir = "/tmp/third"\n[crio.runtime\n',
        ):
            assert "not reloaded" in await reload(wrong)
            assert await asyncio.to_thread(config_of, fresh) == config
        assert "50-test.conf:2" in fresh.log_tail() or "50-test.conf:4" in fresh.log_tail()

        assert "0 more need a restart" in await reload("")
        pod = await fresh.run_pod(pod_config)
        await fresh.remove_pod(pod)
        assert await fresh.stop() == 0
    finally:
        manager.close()
        fresh.remove_files()


async def test_profiles(fresh: Node) -> None:
    """--profile serves dumps for people, and nothing that changes anything; --profile-cpu writes a file."""
    port = free_port()
    fresh.env |= {"CONTAINER_PROFILE": "true", "CONTAINER_PROFILE_PORT": str(port)}
    fresh.env |= {"CONTAINER_PROFILE_CPU": f"{fresh.root}/cpu"}
    try:
        await fresh.start()
        assert "cumulative" in (await asyncio.to_thread(ask, port, "/debug/pprof/profile?seconds=1"))[1]
        assert (await asyncio.to_thread(ask, port, "/debug/pprof/profile?seconds=x"))[0] == 400
        assert "chores" in (await asyncio.to_thread(ask, port, "/debug/goroutines"))[1]
        assert (await asyncio.to_thread(ask, port, "/config"))[0] == 404
        assert await fresh.stop() == 0
        assert pstats.Stats(f"{fresh.root}/cpu").total_calls > 1000  # type: ignore[attr-defined]
    finally:
        fresh.remove_files()


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read().decode()
    finally:
        connection.close()


async def test_tls_is_there_for_who_asks_and_takes_no_memory_before(fresh: Node) -> None:
    certificate, key = str(fresh.root / "cert.pem"), str(fresh.root / "key.pem")
    await ensure_certificate(certificate, key)
    port = free_port()
    settings = fresh.root / "conf.d" / "10-tls.conf"
    try:
        await fresh.start()
        assert fresh.process is not None
        assert "libssl" not in Path(f"/proc/{fresh.process.pid}/maps").read_text()
        assert await fresh.stop() == 0
        settings.write_text(f"""
[crio.api]
stream_address = "127.0.0.1"
stream_port = "{port}"
stream_enable_tls = true
stream_tls_cert = "{certificate}"
stream_tls_key = "{key}"
""")
        await fresh.start()
        context = ssl.create_default_context(cafile=certificate)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        writer.write(b"GET /exec/no-such-token HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readexactly(12)) == b"HTTP/1.1 404"
        writer.close()
        assert await fresh.stop() == 0
    finally:
        fresh.remove_files()
