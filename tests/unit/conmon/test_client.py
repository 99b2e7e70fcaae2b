"""The zygote from the daemon's side: containers are created, fail, are cancelled; the zygote dies and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat

import pytest

from crio.base.errors import FailedPrecondition, Internal, InvalidArgument
from crio.conmon.client import ZygoteClient
from crio.conmon.errors import MonitorUnavailable, RuntimeFailed, RuntimeTimeout
from crio.conmon.spec import ExecSpec, MonitorSpec
from crio.linux.process_tree import children_of
from monitor_bed import Bed, files_of, is_alive

pytestmark = pytest.mark.root


async def _waiting_monitor(zygote: ZygoteClient, *, other_than: int = 0) -> int:
    """The pid of the monitor that is forked ahead; no other but `other_than` may be there."""
    async with asyncio.timeout(60):
        while True:
            pids = set(children_of(zygote.pid)) - {other_than}
            if len(pids) == 1:
                return pids.pop()
            await asyncio.sleep(0.01)


def _processes_of(program: str) -> list[str]:
    """Command lines that name a program, of all processes."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                found.append(file.read())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [line for line in found if program in line]


def _script(bed: Bed, body: str) -> str:
    path = f"{bed.directory}/fake-runtime"
    with open(path, "w") as file:
        file.write(f"#!/bin/sh\n{body}\n")
    os.chmod(path, 0o755)
    return path


@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_container_runs_to_its_end(bed: Bed, runtime: str) -> None:
    bed.runtime = f"/usr/bin/{runtime}" if os.path.exists(f"/usr/bin/{runtime}") else f"/usr/sbin/{runtime}"
    monitor = await bed.create(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert monitor.exited is None
    assert is_alive(monitor.pid)
    assert is_alive(monitor.monitor_pid)
    await bed.start(monitor)
    record = await monitor.wait()
    assert (record.exit_code, record.signal, record.oom_killed, record.monitor_lost) == (7, 0, False, False)
    assert record.finished_at_ns > 0
    assert sorted(bed.log(monitor)) == [("stderr", "F", "err"), ("stdout", "F", "out")]
    with open(f"{bed.exits}/{monitor.id}") as file:
        assert file.read() == "7"
    assert await monitor.wait_gone(60)
    assert not is_alive(monitor.monitor_pid)


async def test_signal_is_told_and_counted_as_128_plus(bed: Bed) -> None:
    monitor = await bed.create(["sleep", "1000"])
    await bed.start(monitor)
    os.kill(monitor.pid, signal.SIGKILL)
    record = await monitor.wait()
    assert (record.exit_code, record.signal) == (137, 9)


@pytest.mark.parametrize("runtime", ["/usr/bin/crun", "/usr/sbin/runc"])
async def test_missing_command_is_one_sentence(bed: Bed, runtime: str) -> None:
    bed.runtime = runtime
    spec = bed.spec(["/no/such/command"])
    bed.remember(spec.id)
    with pytest.raises(RuntimeFailed) as caught:
        await bed.zygote.create(spec)
    assert caught.value.message.startswith(f"cannot create container: {os.path.basename(runtime)}: ")
    assert "no such file or directory" in caught.value.message.lower()
    assert "\n" not in caught.value.message
    assert not {"ctl", "attach", "conmon.pid", "exit.json"} & set(os.listdir(spec.bundle))


async def test_missing_runtime(bed: Bed) -> None:
    bed.runtime = f"{bed.directory}/no-runtime"
    with pytest.raises(RuntimeFailed, match="No such file or directory"):
        await bed.zygote.create(bed.spec(["true"]))


async def test_log_that_cannot_be_opened_fails_the_creation(bed: Bed) -> None:
    with pytest.raises(Internal, match=r"/no-such-directory/log: No such file"):
        await bed.zygote.create(bed.spec(["true"], log_path=f"{bed.directory}/no-such-directory/log"))


async def test_log_is_not_written_through_a_symbolic_link(bed: Bed) -> None:
    os.symlink(f"{bed.directory}/elsewhere", f"{bed.directory}/link")
    with pytest.raises(Internal, match="symbolic links"):
        await bed.zygote.create(bed.spec(["true"], log_path=f"{bed.directory}/link"))
    assert not os.path.exists(f"{bed.directory}/elsewhere")


async def test_runtime_that_hangs_is_killed(bed: Bed) -> None:
    bed.runtime = _script(bed, "sleep 1000")
    with pytest.raises(RuntimeTimeout, match=r"killed after 0\.3 s"):
        await bed.zygote.create(bed.spec(["true"], timeout=0.3))
    assert not _processes_of(bed.runtime)


async def test_cancelled_creation_leaves_nothing(bed: Bed) -> None:
    pid_file = f"{bed.directory}/runtime.pid"
    bed.runtime = _script(bed, f"echo $$ > {pid_file}.part; mv {pid_file}.part {pid_file}; sleep 1000")
    spec = bed.spec(["true"])
    task = asyncio.create_task(bed.zygote.create(spec))
    async with asyncio.timeout(60):
        while not os.path.exists(pid_file) or not os.path.exists(f"{spec.bundle}/conmon.pid"):
            await asyncio.sleep(0.01)
    with open(f"{spec.bundle}/conmon.pid") as file:
        monitor_pid = int(file.read())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with open(pid_file) as file:
        assert not is_alive(int(file.read()))
    async with asyncio.timeout(60):
        while is_alive(monitor_pid):
            await asyncio.sleep(0.01)


async def test_runtime_without_pid_file(bed: Bed) -> None:
    bed.runtime = _script(bed, "exit 0")
    with pytest.raises(RuntimeFailed, match="no pid"):
        await bed.zygote.create(bed.spec(["true"]))


async def test_runtime_that_names_a_foreign_process(bed: Bed) -> None:
    bed.runtime = _script(bed, f"while [ $# -gt 0 ]; do [ $1 = --pid-file ] && echo {os.getpid()} > $2; shift; done")
    with pytest.raises(RuntimeFailed, match="not left to its monitor"):
        await bed.zygote.create(bed.spec(["true"]))


async def test_daemon_can_act_between_fork_and_create(bed: Bed) -> None:
    seen: list[int] = []

    async def on_forked(monitor_pid: int) -> None:
        seen.append(monitor_pid)
        assert not os.path.exists(f"{spec.bundle}/pid")

    spec = bed.spec(["true"])
    bed.remember(spec.id)
    monitor = bed.adopt(await bed.zygote.create(spec, on_forked))
    assert seen == [monitor.monitor_pid]


async def test_failure_of_the_daemon_between_fork_and_create(bed: Bed) -> None:
    async def on_forked(monitor_pid: int) -> None:
        raise RuntimeError("no scope")

    spec = bed.spec(["true"])
    with pytest.raises(RuntimeError, match="no scope"):
        await bed.zygote.create(spec, on_forked)
    assert not os.path.exists(f"{spec.bundle}/pid")


async def test_monitor_is_on_its_own(bed: Bed) -> None:
    group = f"/sys/fs/cgroup/pids/crio-test-conmon-{os.getpid()}"
    os.mkdir(group)
    secret_fd = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret_fd, True)
    try:
        monitor = await bed.create(["sleep", "1000"], cgroup_paths=[group])
        pid = monitor.monitor_pid
        assert os.getsid(pid) == pid
        with open(f"{group}/cgroup.procs") as file:
            assert file.read().split() == [str(pid)]
        with open(f"/proc/{pid}/comm") as file:
            assert file.read() == "conmon\n"
        # Pipes: stdout and stderr; sockets: the daemon's, ctl, attach.
        async with asyncio.timeout(60):
            while len(targets := files_of(pid)) > 13:  # the starter, which makes them, still has its own
                await asyncio.sleep(0.01)
        assert targets.count("/dev/null") == 3
        kinds = {target.partition(":")[0] for target in targets} - {"/dev/null"}
        assert kinds <= {"socket", "pipe", "anon_inode", "/memfd"}
        assert sum(target.startswith("socket") for target in targets) == 3
        assert sum(target.startswith("pipe") for target in targets) == 2
    finally:
        os.close(secret_fd)
        await bed.clean_up()
        os.rmdir(group)


async def test_sockets_are_for_the_owner_only(bed: Bed) -> None:
    monitor = await bed.create(["sleep", "1000"])
    for name in ("ctl", "attach"):
        mode = os.stat(f"{monitor.bundle}/{name}").st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


async def test_killed_zygote_harms_no_container_and_is_replaced(bed: Bed) -> None:
    first = await bed.create(["sh", "-c", "sleep 0.3; echo still here; exit 3"])
    await bed.start(first)
    old = bed.zygote.pid
    os.kill(old, signal.SIGKILL)
    second = await bed.run_to_end(["sh", "-c", "echo second; exit 4"])
    third = await bed.run_to_end(["sh", "-c", "echo third; exit 5"])
    assert bed.zygote.pid not in (0, old)
    assert (await first.wait()).exit_code == 3
    assert (await second.wait()).exit_code == 4
    assert (await third.wait()).exit_code == 5
    assert bed.log(first) == [("stdout", "F", "still here")]


async def test_requests_that_wait_when_the_zygote_dies_are_served_by_the_next(bed: Bed) -> None:
    assert bed.zygote._sockets is not None
    bed.zygote._sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    old = bed.zygote.pid
    os.kill(old, signal.SIGSTOP)
    spec = ExecSpec(argv=["/no/such/runtime"], pid_file=f"{bed.directory}/p", directory=bed.directory, terminal=True)
    asking = [asyncio.create_task(bed.zygote.exec(spec)) for _ in range(40)]
    # Some stand in the socket now, and others find it full.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    os.kill(old, signal.SIGKILL)
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(answer) for answer in answers} == {RuntimeFailed}
    assert bed.zygote.pid not in (0, old)


async def test_stopped_zygote_leaves_with_its_waiting_monitor(bed: Bed) -> None:
    zygote = ZygoteClient()
    await zygote.start()
    pid = zygote.pid
    waiting = await _waiting_monitor(zygote)
    await zygote.stop()
    assert not is_alive(pid)
    async with asyncio.timeout(60):
        while is_alive(waiting):
            await asyncio.sleep(0.01)
    with pytest.raises(FailedPrecondition):
        await zygote.create(bed.spec(["true"]))


async def test_killed_waiting_monitor_is_replaced(bed: Bed) -> None:
    # A zygote has other children until it has rehearsed, which it has before it makes the first monitor.
    first = await bed.run_to_end(["true"])
    assert await first.wait_gone(30)
    killed = await _waiting_monitor(bed.zygote, other_than=first.monitor_pid)
    async with asyncio.timeout(60):
        while not (starters := children_of(killed)):
            await asyncio.sleep(0.01)
    os.kill(killed, signal.SIGKILL)
    async with asyncio.timeout(60):
        # A starter that is about to die with its monitor may still take the next request with it.
        while any(map(is_alive, starters)):
            await asyncio.sleep(0.01)
        while await _waiting_monitor(bed.zygote, other_than=first.monitor_pid) == killed:
            await asyncio.sleep(0.01)
    monitor = await bed.run_to_end(["true"])
    assert (await monitor.wait()).exit_code == 0


async def test_many_at_once(bed: Bed) -> None:
    codes = range(12)
    monitors = await asyncio.gather(*(bed.run_to_end(["sh", "-c", f"echo {code}; exit {code}"]) for code in codes))
    for code, monitor in zip(codes, monitors, strict=True):
        assert (await monitor.wait()).exit_code == code
        assert bed.log(monitor) == [("stdout", "F", str(code))]


async def test_zygote_that_cannot_start() -> None:
    zygote = ZygoteClient(python="/bin/false")
    with pytest.raises(MonitorUnavailable, match="ends at once"):
        await zygote.start()
    zygote = ZygoteClient(python="/no/such/python")
    with pytest.raises(MonitorUnavailable, match="cannot start the zygote"):
        await zygote.start()


async def test_too_long_a_request_is_refused_before_anything_runs(bed: Bed) -> None:
    spec = MonitorSpec(id="x", name="n" * 70_000, bundle=bed.directory, runtime_path="/bin/true")
    with pytest.raises(InvalidArgument, match="longer than"):
        await bed.zygote.create(spec)
