"""The files of an exec; commands in containers are in test_exec_containers.py."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import DataLoss
from crio.runtime.exec_files import ExecFiles, end_leftovers, leftovers, noted, process_document

CONFIG = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": True,
        "consoleSize": {"height": 1, "width": 2},
        "args": ["sleep"],
        "user": {"uid": 7},
        "env": ["A=b"],
        "x-own": [1],
    },
    "root": {"path": "/r"},
}


def test_the_process_keeps_all_but_the_command() -> None:
    process = json.loads(process_document(json.dumps(CONFIG).encode(), ["sh", "-c", "é"], terminal=False))
    assert process == {"terminal": False, "args": ["sh", "-c", "é"], "user": {"uid": 7}, "env": ["A=b"], "x-own": [1]}


@pytest.mark.parametrize("config", [b"", b"{}", b'{"process":{"\xff":1}}', b"[" * 5000])
def test_a_damaged_specification_is_told(config: bytes) -> None:
    with pytest.raises(DataLoss, match="recreate the container"):
        process_document(config, ["sh"], terminal=False)


def test_files_go_when_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    files = ExecFiles(str(tmp_path), ["id"], terminal=True)
    assert json.loads(Path(files.process).read_text())["terminal"] is True
    files.remove()
    files.remove()
    assert os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize(("content", "pid"), [(b"42", 42), (b"", 0), (b"x", 0), (b"1" * 100, 0)])
def test_a_pid_that_is_not_there_yet_is_0(tmp_path: Path, content: bytes, pid: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    files = ExecFiles(str(tmp_path), ["id"], terminal=False)
    assert files.read_pid() == 0
    Path(files.pid).write_bytes(content)
    assert files.read_pid() == pid


def test_the_processors_of_a_command_are_told_to_the_runtime() -> None:
    config = b'{"process": {"args": ["a"], "cwd": "/"}}'
    told = json.loads(process_document(config, ["b"], terminal=False, cpus=[3, 1]))
    assert told["execCPUAffinity"] == {"initial": "1,3", "final": "1,3"}
    assert "execCPUAffinity" not in json.loads(process_document(config, ["b"], terminal=False))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield child
    child.kill()
    child.wait()


async def test_what_was_waited_for_is_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    with noted(str(tmp_path), sleeper.pid):
        left = leftovers(str(tmp_path))
        assert len(left) == 1
        await end_leftovers(left, lambda pid: pid == sleeper.pid)
        assert sleeper.wait(timeout=60) == -9
        assert os.listdir(tmp_path) == []
    assert leftovers(str(tmp_path)) == set()


async def test_a_pid_that_is_another_process_by_now_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    with noted(str(tmp_path), sleeper.pid):
        await end_leftovers(leftovers(str(tmp_path)), lambda pid: False)
        assert os.listdir(tmp_path) == []
    assert sleeper.poll() is None


async def test_a_command_that_is_being_started_is_waited_for(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    files = ExecFiles(str(tmp_path), ["id"], terminal=False)
    ending = asyncio.create_task(end_leftovers(leftovers(str(tmp_path)), lambda pid: True))
    await asyncio.sleep(0)
    assert sleeper.poll() is None
    Path(files.pid).write_text(str(sleeper.pid))
    await ending
    assert sleeper.wait(timeout=60) == -9
    assert os.listdir(tmp_path) == ["config.json"]
