from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument, NotFound
from crio.cli.crioctl.commands.logs import previous_path, since_time
from fake_cri import FakeCri

Crioctl = Any
WEB, SIDECAR = "2c" * 32, "2d" * 32
LOG = b"2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stderr F two\n2026-01-01T00:00:02Z stdout F three\n"


@pytest.fixture
def log(node: FakeCri, tmp_path: Path) -> Path:
    path = tmp_path / "web" / "0.log"
    path.parent.mkdir()
    path.write_bytes(LOG)
    node.containers[WEB][1].log_path = str(path)
    return path


def test_both_streams(log: Path, crioctl: Crioctl) -> None:
    result = crioctl("logs", "web")
    assert (result.code, result.out, result.err) == (0, "one\nthree\n", "two\n")


def test_options(log: Path, crioctl: Crioctl) -> None:
    assert crioctl("logs", "--tail", "1", "web").out == "three\n"
    assert crioctl("logs", "-t", "-s", "stdout", "--since", "2026-01-01T00:00:02Z", "web").out == (
        "2026-01-01T00:00:02Z three\n"
    )
    assert crioctl("logs", "--limit-bytes", "3", "web").out == "one"
    assert crioctl("logs", "--since", "1h", "web").out == ""


def test_follow_ends_with_the_container(log: Path, node: FakeCri, crioctl: Crioctl) -> None:
    def live() -> None:
        time.sleep(0.3)
        with log.open("ab") as file:
            file.write(b"2026-01-01T00:00:03Z stdout F four\n")
        node.containers[WEB][1].state = pb.CONTAINER_EXITED

    thread = threading.Thread(target=live)
    thread.start()
    assert crioctl("logs", "-f", "web").out == "one\nthree\nfour\n"
    thread.join()


def test_reopen(log: Path, node: FakeCri, crioctl: Crioctl) -> None:
    node.answers["ReopenContainerLog"] = pb.ReopenContainerLogResponse()
    assert crioctl("logs", "-r", "web").out == "one\nthree\n"
    assert node.requests("ReopenContainerLog")[0].container_id == WEB


def test_previous(log: Path, node: FakeCri, crioctl: Crioctl) -> None:
    status = node.containers[SIDECAR][1]
    status.log_path = str(log.parent / "1.log")
    assert crioctl("logs", "-p", "log").out == "one\nthree\n"
    assert "this is its first attempt" in crioctl("logs", "-p", "web").err


def test_no_log(node: FakeCri, crioctl: Crioctl) -> None:
    assert crioctl("logs", "web").err == "crioctl: cannot show the log of web: the container has none\n"
    node.containers[WEB][1].log_path = "/nonexistent/0.log"
    assert crioctl("logs", "web").err == "crioctl: cannot read the log /nonexistent/0.log: no such file\n"


def test_previous_path() -> None:
    metadata = pb.ContainerMetadata(name="c", attempt=3)
    assert previous_path("/var/log/pods/p/c/3.log", metadata) == "/var/log/pods/p/c/2.log"
    with pytest.raises(NotFound):
        previous_path("/x/0.log", pb.ContainerMetadata(name="c"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000000Z"),
        ("2026-01-02T03:04:05.5+01:00", "2026-01-02T02:04:05.500000000Z"),
        ("1700000000.25", "2023-11-14T22:13:20.250000000Z"),
    ],
)
def test_since(text: str, expected: str) -> None:
    assert since_time(text) == expected


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "9" * 40])
def test_since_wrong(text: str) -> None:
    with pytest.raises(InvalidArgument, match="neither a time"):
        since_time(text)
