"""The monitor at work: logs, terminals, stdin, OOM, requests, the exit record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from crio.base.errors import FailedPrecondition, Internal
from crio.conmon.connection import Connection, connect
from crio.conmon.watch import LogState, Monitor
from crio.linux.process_tree import children_of
from monitor_bed import Bed, is_alive

pytestmark = pytest.mark.root

_BYTES_OF_20000_NUMBERS = 108_894


async def test_prompt_without_newline_is_seen_at_once(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", "echo -n 'login: '; sleep 1000"])
    await bed.start(monitor)
    async with asyncio.timeout(60):
        while not bed.log(monitor):
            await asyncio.sleep(0.01)
    assert bed.log(monitor) == [("stdout", "P", "login: ")]
    os.kill(monitor.pid, signal.SIGKILL)
    await monitor.wait()
    assert bed.log(monitor) == [("stdout", "P", "login: "), ("stdout", "F", "")]


async def test_all_output_before_the_end_is_logged(bed: Bed) -> None:
    monitor = await bed.run_to_end(["sh", "-c", "seq 1 50000; exit 3"])
    assert bed.text(monitor) == "".join(f"{number}\n" for number in range(1, 50_001))


async def test_long_lines_are_cut(bed: Bed) -> None:
    # The line comes at once: of one that comes in pieces each may be an entry.
    made = "{ head -c 40000 /dev/zero | tr '\\0' x; echo; } > /tmp/line"
    monitor = await bed.run_to_end(["sh", "-c", f"{made}; dd if=/tmp/line bs=40001 2> /dev/null; echo end"])
    assert [(tag, len(text)) for _, tag, text in bed.log(monitor)] == [
        ("P", 16384),
        ("P", 16384),
        ("F", 7232),
        ("F", 3),
    ]


async def test_rotation_under_full_output_loses_and_doubles_nothing(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", "seq 1 200000; read go; seq 200001 300000"], stdin=True)
    path = bed.log_path(monitor)
    await bed.start(monitor)
    rotated = []
    for number in range(100):
        if monitor.exited is not None:
            break
        if number == 2:
            await monitor.close_stdin()
        os.rename(path, f"{path}.{number}")
        rotated.append(f"{path}.{number}")
        try:
            await monitor.reopen_log()
        except FailedPrecondition:
            os.rename(rotated.pop(), path)
            break
        assert os.path.exists(path)
    await monitor.wait()
    text = ""
    for name in [*rotated, path]:
        with open(name) as file:
            for line in file:
                _, _, tag, part = line.rstrip("\n").split(" ", 3)
                text += part + ("\n" if tag == "F" else "")
    assert text == "".join(f"{number}\n" for number in range(1, 300_001))
    assert len(rotated) > 1


async def test_log_that_cannot_be_reopened_stays_in_use(bed: Bed) -> None:
    monitor = await bed.create(["cat"], stdin=True)
    await bed.start(monitor)
    path = bed.log_path(monitor)
    with monitor.open_attach() as client:
        await _send(client, b"before\n")
        async with asyncio.timeout(60):
            while not bed.log(monitor):
                await asyncio.sleep(0.01)
        os.rename(path, f"{path}.old")
        os.mkdir(path)
        with pytest.raises(Internal, match="Is a directory"):
            await monitor.reopen_log()
        await _send(client, b"after\n")
        async with asyncio.timeout(60):
            while _last_words(f"{path}.old") != ["before", "after"]:
                await asyncio.sleep(0.01)
        await monitor.close_stdin()
        await monitor.wait()
    assert _last_words(f"{path}.old") == ["before", "after"]


def _last_words(path: str) -> list[str]:
    with open(path) as file:
        return [line.split()[-1] for line in file]


async def test_size_limit_starts_an_empty_file(bed: Bed) -> None:
    monitor = await bed.run_to_end(["seq", "1", "20000"], log_size_max=8192)
    path = bed.log_path(monitor)
    assert 0 < os.path.getsize(path) <= 8192
    assert bed.log(monitor)[-1] == ("stdout", "F", "20000")
    assert os.listdir(bed.directory).count(os.path.basename(path)) == 1
    assert not os.path.exists(f"{path}.tmp")


@contextlib.contextmanager
def _small_file_system(bed: Bed) -> Iterator[str]:
    full = f"{bed.directory}/full"
    os.mkdir(full)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], check=True)
    try:
        yield full
    finally:
        subprocess.run(["umount", full], check=True)


async def test_full_disk_does_not_stop_the_container(bed: Bed) -> None:
    with _small_file_system(bed) as full:
        monitor = await bed.run_to_end(["sh", "-c", "seq 1 200000; exit 5"], log_path=f"{full}/log")
        record = await monitor.wait()
        assert record.exit_code == 5
        assert record.log_dropped > 1_000_000
        assert record.log_error == "No space left on device"
        with open(f"{full}/log") as file:
            lines = file.read().splitlines(keepends=True)
        assert lines
        assert all(line.endswith("\n") and line.split(" ", 3)[1:2] == ["stdout"] for line in lines)
        text = "".join(line[:-1].split(" ", 3)[3] + ("\n" if " F " in line else "") for line in lines)
        assert text.startswith("".join(f"{number}\n" for number in range(1, 500)))
        await monitor.wait_gone(60)


async def test_full_disk_is_told_at_once_and_when_there_is_room_again(bed: Bed) -> None:
    with _small_file_system(bed) as full:
        command = "seq 1 20000; while read line; do echo $line; done"
        monitor = await bed.create(["sh", "-c", command], log_path=f"{full}/log", stdin=True)
        told: asyncio.Queue[LogState] = asyncio.Queue()
        monitor.on_log = told.put_nowait
        await bed.start(monitor)
        async with asyncio.timeout(60):
            failing = await told.get()
        assert (failing.failing, failing.error) == (True, "No space left on device")
        assert failing.dropped > 0
        adopted = bed.adopt(await Monitor.connect(monitor.id, monitor.bundle))
        async with asyncio.timeout(60):
            while (await adopted.status()).number("bytes_read") < _BYTES_OF_20000_NUMBERS:
                await asyncio.sleep(0.02)
        assert adopted.log.failing
        adopted.on_log = told.put_nowait
        os.truncate(f"{full}/log", 0)
        await asyncio.sleep(1.1)  # a write that succeeds sooner may be a short line that found room
        attached = monitor.open_attach()
        await _send(attached, b"again\n")
        async with asyncio.timeout(60):
            good = [await told.get(), await told.get()]
        assert [state.failing for state in good] == [False, False]
        assert good[0].dropped >= failing.dropped
        attached.close()
        await monitor.close_stdin()
        assert (await monitor.wait()).exit_code == 0
        await monitor.wait_gone(60)
        with open(f"{full}/log") as file:
            assert file.read().endswith("stdout F again\n")


async def test_room_is_told_also_if_nothing_is_written_any_more(bed: Bed) -> None:
    with _small_file_system(bed) as full:
        command = "seq 1 20000; read line; echo $line; exec sleep 1000"
        monitor = await bed.create(["sh", "-c", command], log_path=f"{full}/log", stdin=True)
        told: asyncio.Queue[LogState] = asyncio.Queue()
        monitor.on_log = told.put_nowait
        await bed.start(monitor)
        async with asyncio.timeout(60):
            assert (await told.get()).failing
            while (await monitor.status()).number("bytes_read") < _BYTES_OF_20000_NUMBERS:
                await asyncio.sleep(0.02)
        os.truncate(f"{full}/log", 0)
        attached = monitor.open_attach()
        await _send(attached, b"last\n")
        async with asyncio.timeout(60):
            assert not (await told.get()).failing
        attached.close()
        os.kill(monitor.pid, signal.SIGKILL)
        await monitor.wait_gone(60)


async def test_container_without_a_log(bed: Bed) -> None:
    monitor = await bed.run_to_end(["sh", "-c", "seq 1 100000; exit 6"], log_path=None)
    record = await monitor.wait()
    assert (record.exit_code, record.log_dropped, record.log_error) == (6, 0, "")
    assert not os.path.exists(bed.log_path(monitor))


async def test_journal_gets_each_line(bed: Bed) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(f"{bed.directory}/journal")
        journal.settimeout(60)
        monitor = await bed.run_to_end(
            ["sh", "-c", "echo one; echo two >&2"], log_to_journald=True, journal=f"{bed.directory}/journal"
        )
        entries = [journal.recv(65536), journal.recv(65536)]
    by_message = {_fields(entry)[b"MESSAGE"]: _fields(entry) for entry in entries}
    assert by_message[b"one"][b"PRIORITY"] == b"6"
    assert by_message[b"two"][b"PRIORITY"] == b"3"
    assert by_message[b"one"][b"CONTAINER_ID_FULL"] == monitor.id.encode()
    assert by_message[b"one"][b"CONTAINER_NAME"] == f"name-{monitor.id}".encode()
    assert len(bed.log(monitor)) == 2


async def test_terminal(bed: Bed) -> None:
    command = "trap 'stty size; exit 9' WINCH; stty size; tty; while true; do sleep 0.02; done"
    monitor = await bed.create(["sh", "-c", command], terminal=True)
    await monitor.resize(33, 77)
    await bed.start(monitor)
    async with asyncio.timeout(60):
        while bed.text(monitor).count("\n") < 2:
            await asyncio.sleep(0.01)
    await monitor.resize(44, 88)
    assert (await monitor.wait()).exit_code == 9
    assert bed.text(monitor).replace("\r", "") == "33 77\n/dev/pts/0\n44 88\n"


async def test_terminal_hangs_up_when_its_monitor_is_killed(bed: Bed) -> None:
    command = "trap 'exit 5' HUP; echo ready; while true; do sleep 0.02; done"
    monitor = await bed.create(["sh", "-c", command], terminal=True)
    await bed.start(monitor)
    async with asyncio.timeout(60):
        while not bed.log(monitor):
            await asyncio.sleep(0.01)
    os.kill(monitor.monitor_pid, signal.SIGKILL)
    record = await monitor.wait()
    assert (record.monitor_lost, record.exit_code) == (True, 255)
    async with asyncio.timeout(60):
        while is_alive(monitor.pid):
            await asyncio.sleep(0.01)


async def test_resize_without_a_terminal(bed: Bed) -> None:
    monitor = await bed.create(["sleep", "1000"])
    with pytest.raises(Internal, match="has no terminal"):
        await monitor.resize(1, 1)


async def test_stdin_of_a_terminal(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", "read line; echo got $line"], terminal=True, stdin=True)
    await bed.start(monitor)
    with monitor.open_attach() as client:
        await _send(client, b"hello\r")
        await monitor.wait()
        assert b"got hello\r\n" in await _receive_all(client, 2)


async def test_stdin_once_ends_with_the_first_client(bed: Bed) -> None:
    monitor = await bed.create(["cat"], stdin=True, stdin_once=True)
    await bed.start(monitor)
    with monitor.open_attach() as watcher:
        with monitor.open_attach() as silent:
            silent.setblocking(False)
        client = monitor.open_attach()
        with client:
            await _send(client, b"data\n")
            client.shutdown(socket.SHUT_WR)
            assert (await monitor.wait()).exit_code == 0
            assert await _receive_all(client, 2) == b"data\n"
        assert await _receive_all(watcher, 2) == b"data\n"


async def test_stdin_stays_open_for_the_next_client(bed: Bed) -> None:
    monitor = await bed.create(["cat"], stdin=True)
    await bed.start(monitor)
    for text in (b"first\n", b"second\n"):
        with monitor.open_attach() as client:
            await _send(client, text)
            client.shutdown(socket.SHUT_WR)
            assert await _receive(client) == b"\x02" + text
    assert monitor.exited is None
    await monitor.close_stdin()
    assert (await monitor.wait()).exit_code == 0
    assert [text for _, _, text in bed.log(monitor)] == ["first", "second"]


async def test_container_that_reads_no_stdin_stops_its_client_and_nothing_else(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", "sleep 0.5; cat | tail -c 5; exit 4"], stdin=True, stdin_once=True)
    await bed.start(monitor)
    data = b"x" * 999_995 + b"END!\n"
    with monitor.open_attach() as client:
        for start in range(0, len(data), 8192):
            await _send(client, data[start : start + 8192])
        client.shutdown(socket.SHUT_WR)
        record = await monitor.wait()
        assert record.exit_code == 4
        assert await _receive_all(client, 2) == b"END!\n"


async def test_several_clients_see_the_same(bed: Bed) -> None:
    monitor = await bed.create(["cat"], stdin=True)
    await bed.start(monitor)
    with monitor.open_attach() as first:
        await _send(first, b"1\n")
        assert await _receive(first) == b"\x021\n"
        with monitor.open_attach() as late:
            async with asyncio.timeout(60):
                while (await monitor.status()).number("attached") != 2:
                    await asyncio.sleep(0.01)
            await _send(first, b"2\n")
            assert await _receive(first) == b"\x022\n"
            assert await _receive(late) == b"\x022\n"
    async with asyncio.timeout(60):
        while (await monitor.status()).number("attached") != 0:
            await asyncio.sleep(0.01)


async def test_client_that_does_not_read_stalls_neither_container_nor_log(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", "read go; seq 1 500000; echo last >&2"], stdin=True)
    await bed.start(monitor)
    with monitor.open_attach() as lazy:
        await _send(lazy, b"go\n")
        assert (await monitor.wait()).exit_code == 0
        assert len(bed.text(monitor).splitlines()) == 500_001
        seen = await _receive_all(lazy, 2)
    assert seen.startswith(b"1\n2\n3\n")
    assert len(seen) < 2_500_000


async def test_oom_kill_is_told(bed: Bed) -> None:
    monitor = await bed.create(
        ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1000"],
        bundle_options={"memory_limit": 16 * 1024 * 1024},
    )
    await bed.start(monitor)
    async with asyncio.timeout(60):
        while not os.path.exists(f"{monitor.bundle}/oom"):
            await asyncio.sleep(0.01)
    assert monitor.exited is None
    assert (await monitor.status()).number("oom_kills") == 1
    os.kill(monitor.pid, signal.SIGKILL)
    record = await monitor.wait()
    assert record.oom_killed
    with open(f"{monitor.bundle}/exit.json") as file:
        assert json.load(file)["oom_kills"] == 1


async def test_orphans_of_a_container_in_the_hosts_pid_namespace_are_reaped(bed: Bed) -> None:
    command = "i=0; while [ $i -lt 20 ]; do sh -c 'true &'; i=$((i+1)); done; echo done; sleep 1000"
    monitor = await bed.create(["sh", "-c", command], bundle_options={"host_pid": True})
    await bed.start(monitor)
    async with asyncio.timeout(60):
        while ("stdout", "F", "done") not in bed.log(monitor):
            await asyncio.sleep(0.01)
        while len(children_of(monitor.monitor_pid)) != 1:
            await asyncio.sleep(0.01)
    assert children_of(monitor.monitor_pid) == [monitor.pid]
    os.kill(monitor.pid, signal.SIGTERM)
    with contextlib.suppress(ProcessLookupError):  # which nothing keeps from ending by the first
        os.kill(monitor.pid, signal.SIGKILL)
    assert (await monitor.wait()).signal in (signal.SIGTERM, signal.SIGKILL)


async def test_first_event_may_be_the_end_of_a_container_in_the_hosts_pid_namespace(bed: Bed) -> None:
    monitor = await bed.create(["sh", "-c", "exit 3"], bundle_options={"host_pid": True})
    await bed.start(monitor)
    assert (await monitor.wait()).exit_code == 3


async def test_process_that_holds_the_output_does_not_hold_the_exit(bed: Bed) -> None:
    monitor = await bed.create(
        ["sh", "-c", "sh -c 'while true; do echo x; done' & echo $! >&2; sleep 0.1; exit 3"],
        bundle_options={"host_pid": True},
    )
    await bed.start(monitor)
    async with asyncio.timeout(60):
        record = await monitor.wait()
    assert record.exit_code == 3
    (holder,) = (int(text) for stream, _, text in bed.log(monitor) if stream == "stderr")
    try:
        os.kill(holder, signal.SIGKILL)
    except ProcessLookupError:
        pass


async def test_unknown_request_and_broken_request(bed: Bed) -> None:
    monitor = await bed.create(["sleep", "1000"])
    connection = Connection(connect(monitor.bundle, "ctl"))
    answer = await connection.request("make-coffee", {}, 60)
    assert (answer.verb, answer.text("message")) == ("failed", "this monitor does not know 'make-coffee'")
    answer = await connection.request("resize", {"rows": "many"}, 60)
    assert answer.verb == "failed"
    connection.close()
    with connect(monitor.bundle, "ctl") as hostile:
        hostile.send(b"\xff\xfe nonsense")
        hostile.setblocking(True)
        hostile.settimeout(60)
        assert hostile.recv(100) == b""
    assert (await monitor.status()).number("pid") == monitor.pid


async def test_packets_of_protocol_1_are_understood_for_ever(bed: Bed) -> None:
    """A daemon of a later version meets monitors of this one, and the other way round: these bytes are the contract."""
    monitor = await bed.create(["sh", "-c", "exit 3"])
    with connect(monitor.bundle, "ctl") as raw:
        raw.setblocking(True)
        raw.settimeout(60)
        raw.send(b"1 watch")
        assert raw.recv(65536) == b"1 ok\0protocol=1"
        raw.send(b"1 status\0a-later-field=x")
        fields = raw.recv(65536).split(b"\0")
        assert fields[0] == b"1 ok"
        assert b"pid=%d" % monitor.pid in fields
        assert b"monitor_pid=%d" % monitor.monitor_pid in fields
        raw.send(b"1 reopen-log")
        assert raw.recv(65536) == b"1 ok"
        await bed.start(monitor)
        fields = await asyncio.to_thread(lambda: raw.recv(65536).split(b"\0"))
        assert fields[0] == b"1 exited"
        assert {b"exit_code=3", b"signal=0", b"oom_killed=0"} <= set(fields)


async def _send(client: socket.socket, data: bytes) -> None:
    client.setblocking(False)
    async with asyncio.timeout(60):
        await asyncio.get_running_loop().sock_sendall(client, data)


async def _receive(client: socket.socket) -> bytes:
    client.setblocking(False)
    async with asyncio.timeout(60):
        return await asyncio.get_running_loop().sock_recv(client, 8193)


async def _receive_all(client: socket.socket, stream: int) -> bytes:
    """All output of a stream until the monitor closes."""
    data = b""
    while packet := await _receive(client):
        assert len(packet) <= 8193
        if packet[0] == stream:
            data += packet[1:]
    return data


def _fields(entry: bytes) -> dict[bytes, bytes]:
    return dict(line.split(b"=", 1) for line in entry.splitlines() if b"=" in line)
