"""A runtime's program: protected from containers, followed when it is replaced, and without anything in /tmp."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from crio.base.process import DEFAULT_ENV
from crio.conmon.launch import CONSOLE_PLACEHOLDER
from crio.conmon.spec import ExecSpec
from crio.runtime.driver import OciRuntime
from crio.runtime.exec import exec_sync
from crio.runtime.exec_files import ExecFiles
from crio.runtime.program import Program
from monitor_bed import Bed
from open_files import open_files

pytestmark = pytest.mark.root
CRUN = "/usr/bin/crun"


@pytest.fixture
def program() -> Program:
    return Program(CRUN, protect=True)


def _run(program: Program, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    executable = program.executable()
    argv, environment = [program.path, *arguments], {**program.env, **(env or {})}
    return subprocess.run(argv, executable=executable, env=environment, capture_output=True, check=False)


def test_it_runs_and_nobody_can_change_it(program: Program) -> None:
    done = _run(program, "--version")
    assert done.returncode == 0
    assert done.stdout.startswith(b"crun version")
    path = program.executable()
    assert path is not None
    with pytest.raises(OSError, match="Read-only"):
        os.chmod(path, 0o700)
    # Busy while any process runs from the file.
    with pytest.raises(OSError, match=r"Read-only|busy"):
        os.close(os.open(path, os.O_WRONLY))
    program.close()


def test_crun_makes_nothing_where_it_would_otherwise_protect_itself(program: Program, tmp_path: Path) -> None:
    before = os.stat(tmp_path).st_mtime_ns
    env = {"_LIBCONTAINER_STATEDIR": str(tmp_path)}
    assert _run(program, "--root", str(tmp_path.parent), "list", env=env).returncode == 0
    assert os.stat(tmp_path).st_mtime_ns == before
    program.close()


def test_a_runtime_that_was_replaced_is_taken_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "crun"
    shutil.copy("/bin/true", path)
    program = Program(str(path), protect=True)
    assert _run(program).returncode == 0
    first = program.fd()
    assert program.fd() == first
    opened = open_files()
    shutil.copy("/bin/false", tmp_path / "new")
    os.rename(tmp_path / "new", path)
    assert _run(program).returncode == 1
    assert open_files() == opened
    path.unlink()
    assert program.fd() == -1
    assert program.env == DEFAULT_ENV
    shutil.copy("/bin/true", path)
    assert _run(program).returncode == 0
    program.close()


def test_a_script_and_an_unprotected_program_run_by_their_paths(tmp_path: Path) -> None:
    script = tmp_path / "crun"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    wrapped = Program(str(script), protect=True)
    assert wrapped.executable() is None
    assert _run(wrapped).returncode == 3
    plain = Program(CRUN, protect=False)
    assert plain.fd() == -1
    with plain.lent() as fd:
        assert fd == -1


def test_what_is_lent_outlives_a_replacement(program: Program) -> None:
    with program.lent() as fd:
        program.close()
        done = subprocess.run(["crun", "--version"], executable=f"/proc/{os.getpid()}/fd/{fd}", check=False)
        assert done.returncode == 0
    assert program.give_up() is False
    assert program.fd() == -1


async def test_containers_and_commands_are_run_from_it(bed: Bed) -> None:
    runtime = OciRuntime("crun", CRUN, bed.root)
    with runtime.program.lent() as program:
        state = f"{bed.directory}/state"
        os.mkdir(state)
        untouched = os.stat(state).st_mtime_ns
        spec = bed.spec(["sleep", "1000"], env={**runtime.program.env, "_LIBCONTAINER_STATEDIR": state})
        bed.remember(spec.id)
        monitor = bed.adopt(await bed.zygote.create(spec, program=program))
        assert os.stat(state).st_mtime_ns == untouched
        # The container's first process is the runtime until it is started.
        running = f"/proc/{monitor.pid}/exe"
        assert os.path.samestat(os.stat(running), os.stat(CRUN))
        assert os.statvfs(running).f_flag & os.ST_RDONLY
    await runtime.start(monitor.id)
    assert (await exec_sync(runtime, monitor.id, monitor.bundle, ["echo", "hi"], 30)).stdout == b"hi\n"
    for terminal in (False, True):
        files = ExecFiles(monitor.bundle, ["sh", "-c", "exit 7"], terminal=terminal)
        console = ["--console-socket", CONSOLE_PLACEHOLDER] if terminal else []
        arguments = ["--detach", "--process", files.process, "--pid-file", files.pid, *console, monitor.id]
        with runtime.program.lent() as program, open(os.devnull, "r+b") as null:
            command = ExecSpec(
                argv=runtime.command("exec", *arguments),
                pid_file=files.pid,
                directory=monitor.bundle,
                terminal=terminal,
                env={**runtime.program.env, "_LIBCONTAINER_STATEDIR": state},
            )
            stdio = () if terminal else (null.fileno(),) * 3
            process = await bed.zygote.exec(command, stdio, program=program)
        assert await process.wait() == 7
        process.close()
        files.remove()
        if terminal:
            os.close(process.master)
    assert os.stat(state).st_mtime_ns == untouched
    await runtime.delete(monitor.id, force=True)
    runtime.program.close()
