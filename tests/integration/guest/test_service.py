"""The installed daemon as a service of systemd: start, kill, watchdog, reload, stop, remove; containers survive."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.linux.process_tree import children_of
from installed_node import InstalledNode, install, run, uninstall
from systemd_units import group_of, show, wait_for

pytestmark = [
    pytest.mark.skipif("CRIO_TEST_GUEST" not in os.environ, reason="installs the project on this machine"),
    pytest.mark.slow,
]

DROP_IN = Path("/etc/systemd/system/crio.service.d/test.conf")


@pytest.fixture(scope="module", autouse=True)
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Installed and started, with shorter times than a node has."""
    kind = install(tmp_path_factory.mktemp("install"))
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text("[Service]\nRestartSec=1\nWatchdogSec=10s\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "crio")
    yield
    run("systemctl", "stop", "crio")
    DROP_IN.unlink()
    uninstall(kind)
    assert not os.path.exists("/usr/bin/crio")
    for link in ("cni0", "cni-podman0"):
        run("ip", "link", "delete", link, check=False)


@pytest.fixture
async def installed(layout: str) -> AsyncIterator[InstalledNode]:
    node = InstalledNode()
    await node.ready()
    await node.load(layout)
    yield node
    await node.ready()
    await node.remove_all_pods()
    await node.close_client()


async def _counter(node: InstalledNode, name: str) -> tuple[str, int]:
    """A container that writes a line every 0.1 s, in a pod of this name, and its process."""
    pod_config = node.pod_config(name)
    pod = await node.run_pod(pod_config)
    command = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done"]
    container = await node.create(pod, node.container_config(command), pod_config)
    await node.start_container(container)
    return container, int(Path(f"/var/run/crio/containers/{container}/pid").read_text())


def _main_pid() -> int:
    return int(show("crio", "MainPID")["MainPID"])


async def _survived(node: InstalledNode, name: str, container: str, pid: int) -> None:
    await node.ready()
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING
    assert os.path.exists(f"/proc/{pid}")
    assert (await node.exec(container, "echo", "here")).stdout == b"here\n"
    log = node.logs / name / "ctr.log"
    size = log.stat().st_size
    wait_for(lambda: log.stat().st_size > size, "the log grows")
    numbers = [int(line.split()[-1]) for line in log.read_text().splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))


def _restarted(before: int) -> bool:
    return show("crio", "ActiveState")["ActiveState"] == "active" and _main_pid() not in (0, before)


async def test_it_runs_as_configured(installed: InstalledNode) -> None:
    assert show("crio", "ActiveState", "Type") == {"ActiveState": "active", "Type": "notify"}
    config = await installed.call("RuntimeConfig", pb.RuntimeConfigRequest(), pb.RuntimeConfigResponse)
    assert config.linux.cgroup_driver == pb.SYSTEMD
    status = await installed.call("Status", pb.StatusRequest(), pb.StatusResponse)
    assert {condition.type: condition.status for condition in status.status.conditions}["RuntimeReady"]
    assert "crio version" in run("/usr/bin/crio", "--version")


async def test_nothing_of_a_container_is_in_the_services_group(installed: InstalledNode) -> None:
    container, pid = await _counter(installed, "place")
    monitor = int(Path(f"/var/run/crio/containers/{container}/conmon.pid").read_text())
    assert group_of(pid).startswith(f"/system.slice/crio-{container}.scope")
    wait_for(lambda: group_of(monitor) == f"/system.slice/crio-conmon-{container}.scope", "the monitor is placed")
    service = Path("/sys/fs/cgroup/system.slice/crio.service/cgroup.procs")
    assert children_of(monitor)
    wait_for(lambda: not {*children_of(monitor)} & {*map(int, service.read_text().split())}, "and who serves for it")


async def test_a_kill_of_the_daemon(installed: InstalledNode) -> None:
    container, pid = await _counter(installed, "kill")
    before = _main_pid()
    os.kill(before, signal.SIGKILL)
    await installed.close_client()
    wait_for(lambda: _restarted(before), "systemd starts it again", 60)
    await _survived(installed, "kill", container, pid)


async def test_a_daemon_that_hangs(installed: InstalledNode) -> None:
    container, pid = await _counter(installed, "hang")
    before = _main_pid()
    os.kill(before, signal.SIGSTOP)
    await installed.close_client()
    wait_for(lambda: _restarted(before), "the watchdog restarts it", 90)
    await _survived(installed, "hang", container, pid)
    assert "watchdog" in run("journalctl", "-u", "crio", "--no-pager", "-n", "200").lower()


async def test_reload(installed: InstalledNode) -> None:
    container, pid = await _counter(installed, "reload")
    before = _main_pid()
    changed = Path("/etc/crio/crio.conf.d/99-test.conf")
    changed.write_text('[crio.runtime]\nlog_level = "debug"\n')
    try:
        run("systemctl", "reload", "crio")
        wait_for(lambda: "reloaded" in show("crio", "StatusText")["StatusText"], "the status tells of it")
    finally:
        changed.unlink()
    assert _main_pid() == before
    await _survived(installed, "reload", container, pid)


async def test_stop_and_start(installed: InstalledNode) -> None:
    container, pid = await _counter(installed, "stop")
    before = _main_pid()
    await installed.close_client()
    run("systemctl", "stop", "crio")
    assert not os.path.exists(f"/proc/{before}")
    assert show("crio", "Result") == {"Result": "success"}
    assert os.path.exists(f"/proc/{pid}")
    assert run("systemctl", "show", "crio", "-p", "ControlGroup", "--value").strip() == ""
    run("systemctl", "start", "crio")
    await _survived(installed, "stop", container, pid)


async def test_a_second_daemon_is_refused(installed: InstalledNode) -> None:
    assert "another crio" in run("/usr/bin/crio", check=False)
    await installed.ready()
