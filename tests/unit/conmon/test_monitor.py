"""A monitor and its servers: one comes with an event, leaves when all is quiet, and may die without loss."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable

import pytest

from crio.conmon.watch import Monitor
from crio.linux.process_tree import children_of
from monitor_bed import Bed, is_alive

pytestmark = pytest.mark.root

_ECHO = "while read line; do echo $line; done; exit 7"


def _servers(monitor: Monitor) -> list[int]:
    return [pid for pid in children_of(monitor.monitor_pid) if pid != monitor.pid]


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def _logging(bed: Bed, monitor: Monitor) -> None:
    """Until there is a log, and so a server: before it, a monitor's only child is its starter."""
    await _until(lambda: os.path.exists(bed.log_path(monitor)) and bed.log(monitor))


async def _resting(monitor: Monitor) -> None:
    await _until(lambda: not _servers(monitor))


async def _dead(pid: int) -> None:
    await _until(lambda: not is_alive(pid))


async def _say(monitor: Monitor, *lines: str) -> None:
    loop = asyncio.get_running_loop()
    with monitor.open_attach() as client:
        for line in lines:
            await loop.sock_sendall(client, f"{line}\n".encode())
            assert await loop.sock_recv(client, 8193) == b"\x02" + f"{line}\n".encode()


async def test_server_leaves_and_the_next_goes_on(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", _ECHO], stdin=True)
    await bed.start(monitor)
    await _resting(monitor)
    await _say(monitor, "one")
    status = await monitor.status()
    assert (status.number("bytes_read"), status.number("monitor_pid")) == (4, monitor.monitor_pid)
    await _resting(monitor)
    # It is still the same file: nobody has said `reopen-log`.
    path = bed.log_path(monitor)
    os.rename(path, f"{path}.1")
    await _say(monitor, "two")
    assert (await monitor.status()).number("bytes_read") == 8
    await _resting(monitor)
    await monitor.reopen_log()
    await _say(monitor, "three")
    assert bed.text(monitor) == "three\n"
    with open(f"{path}.1") as file:
        assert [line.rsplit(" ", 1)[1] for line in file.read().splitlines()] == ["one", "two"]
    await _resting(monitor)
    await monitor.close_stdin()
    record = await monitor.wait()
    assert (record.exit_code, record.monitor_lost, record.log_dropped) == (7, False, 0)
    assert await monitor.wait_gone(60)


async def test_end_of_a_container_is_told_to_all_who_watch_after_a_rest(bed: Bed) -> None:
    monitor = await bed.create(["sleep", "1000"])
    await bed.start(monitor)
    adopted = bed.adopt(await Monitor.connect(monitor.id, monitor.bundle))
    await _resting(monitor)
    os.kill(monitor.pid, signal.SIGKILL)
    for watcher in (monitor, adopted):
        record = await watcher.wait()
        assert (record.exit_code, record.signal, record.monitor_lost) == (137, 9, False)
    assert await monitor.wait_gone(60)


async def test_closed_streams_stay_closed(bed: Bed) -> None:
    script = "read line; echo $line; exec >&- 2>&- <&-; sleep 1000"
    monitor = await bed.create(["sh", "-c", script], stdin=True)
    await bed.start(monitor)
    with monitor.open_attach() as client:
        await asyncio.get_running_loop().sock_sendall(client, b"all\n")
        await _until(lambda: os.path.exists(bed.log_path(monitor)) and bed.text(monitor) == "all\n")
    await monitor.close_stdin()
    await _resting(monitor)
    with monitor.open_attach() as client:
        await asyncio.get_running_loop().sock_sendall(client, b"nobody reads this\n")
    assert (await monitor.status()).number("bytes_read") == 4
    await _resting(monitor)
    os.kill(monitor.pid, signal.SIGTERM)
    os.kill(monitor.pid, signal.SIGKILL)
    assert (await monitor.wait()).signal == 9
    assert bed.text(monitor) == "all\n"


async def test_server_waits_for_the_rest_of_a_line(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", "echo -n 'name: '; read line; echo $line; sleep 1000"], stdin=True)
    await bed.start(monitor)
    await _logging(bed, monitor)
    (server,) = _servers(monitor)
    await asyncio.sleep(3)  # more than it takes one that has nothing to wait for
    assert _servers(monitor) == [server]
    with monitor.open_attach() as client:
        await asyncio.get_running_loop().sock_sendall(client, b"me\n")
        await _until(lambda: len(bed.log(monitor)) == 2)
    assert bed.log(monitor) == [("stdout", "P", "name: "), ("stdout", "F", "me")]
    await _resting(monitor)


async def test_killed_servers_are_replaced(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", _ECHO], stdin=True)
    await bed.start(monitor)
    # After a few the monitor serves by itself for once.
    lines = [f"line {number}" for number in range(6)]
    for line in lines:
        await _say(monitor, line)
        for server in _servers(monitor):
            with contextlib.suppress(ProcessLookupError):  # it may have left by itself
                os.kill(server, signal.SIGKILL)
            await _dead(server)
    assert bed.text(monitor).splitlines() == lines
    watcher = bed.adopt(await Monitor.connect(monitor.id, monitor.bundle))
    await watcher.close_stdin()
    record = await watcher.wait()
    assert (record.exit_code, record.monitor_lost) == (7, False)
    assert await monitor.wait_gone(60)


async def test_clients_of_a_killed_server_are_let_go(bed: Bed) -> None:
    monitor = await bed.create(["cat"], stdin=True)
    await bed.start(monitor)
    loop = asyncio.get_running_loop()
    with monitor.open_attach() as client:
        await loop.sock_sendall(client, b"here\n")
        assert await loop.sock_recv(client, 100) == b"\x02here\n"
        (server,) = _servers(monitor)
        os.kill(server, signal.SIGKILL)
        async with asyncio.timeout(60):
            assert await _received(client) == b""


async def _received(client: socket.socket) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(client, 100)
    except ConnectionResetError:
        return b""


async def test_exit_code_is_not_lost_with_the_server_that_had_it(bed: Bed) -> None:
    # While a line has no end its server stays.
    monitor = await bed.create(["sh", "-c", "echo -n out; sleep 1000"])
    await bed.start(monitor)
    await _logging(bed, monitor)
    (server,) = _servers(monitor)
    os.kill(server, signal.SIGSTOP)
    os.kill(monitor.pid, signal.SIGKILL)
    await _until(lambda: not os.path.exists(f"/proc/{monitor.pid}"))
    os.kill(server, signal.SIGKILL)
    record = await bed.adopt(await Monitor.connect(monitor.id, monitor.bundle)).wait()
    assert (record.exit_code, record.signal, record.monitor_lost) == (137, 9, False)
    assert await monitor.wait_gone(60)


async def test_server_dies_with_its_monitor(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", "while :; do echo here; sleep 0.1; done"])
    await bed.start(monitor)
    await _logging(bed, monitor)
    (server,) = _servers(monitor)
    os.kill(monitor.monitor_pid, signal.SIGKILL)
    await _dead(server)
    assert (await monitor.wait()).monitor_lost
    os.kill(monitor.pid, signal.SIGKILL)


async def test_monitor_that_may_have_no_child_serves_by_itself(bed: Bed) -> None:
    group = f"/sys/fs/cgroup/pids/crio-test-limit-{os.getpid()}"
    os.mkdir(group)
    try:
        monitor = await bed.create(["sh", "-c", _ECHO], stdin=True, cgroup_paths=[group])
        await bed.start(monitor)
        await _resting(monitor)
        with open(f"{group}/pids.max", "w") as file:
            file.write("1")
        await _say(monitor, "alone")
        assert _servers(monitor) == []
        assert bed.text(monitor) == "alone\n"
        # The limit is gone, and after a rest a server comes again.
        with open(f"{group}/pids.max", "w") as file:
            file.write("max")
        await _say(monitor, "still alone")
        await _until(lambda: _sleeps_in_poll(monitor))
        await monitor.close_stdin()
        assert (await monitor.wait()).exit_code == 7
        assert await monitor.wait_gone(60)
    finally:
        await bed.clean_up()
        os.rmdir(group)


def _sleeps_in_poll(monitor: Monitor) -> bool:
    with open(f"/proc/{monitor.monitor_pid}/wchan") as file:
        return "poll" in file.read()


async def test_orphans_are_reaped_with_and_without_a_server(bed: Bed) -> None:
    script = "(sleep 0.2 & echo $!); (sleep 6 & echo $!); exec sleep 1000"
    monitor = await bed.create(["sh", "-c", script], bundle_options={"host_pid": True})
    await bed.start(monitor)
    await _logging(bed, monitor)
    await _until(lambda: bed.text(monitor).count("\n") == 2)
    orphans = bed.text(monitor).split()
    await _until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in orphans))
    assert _comms(monitor) == ["sleep"]
    os.kill(monitor.pid, signal.SIGKILL)
    record = await monitor.wait()
    assert (record.exit_code, record.monitor_lost) == (137, False)
    assert await monitor.wait_gone(60)


def _comms(monitor: Monitor) -> list[str]:
    """The names of a monitor's children but its servers."""
    names = []
    for pid in children_of(monitor.monitor_pid):
        try:
            with open(f"/proc/{pid}/comm") as file:
                names.append(file.read().strip())
        except FileNotFoundError:
            continue
    return sorted(name for name in names if name != "conmon")
