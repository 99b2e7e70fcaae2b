"""Counters of network interfaces."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from crio.stats.network import Interface, parse, read_interfaces

TEXT = """Inter-|   Receive                  |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0  1000      10    0    0    0     0       0       0
  eth0:    2000      20    1    2    0     0          0         0  3000      30    3    4    0     0       0       0
"""


def test_parse() -> None:
    assert parse(TEXT) == [Interface("eth0", 2000, 20, 1, 2, 3000, 30, 3, 4)]
    assert parse("") == []


@pytest.mark.root
def test_a_process_shows_its_namespace() -> None:
    script = "ip link add one type veth peer name two && echo ready && read end"
    command = ["unshare", "--net", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        path = f"/proc/{process.pid}/ns/net"
        by_process, by_path = read_interfaces(path, process.pid), read_interfaces(path, 0)
        process.communicate(b"\n")
    assert by_process == by_path
    assert {interface.name for interface in by_path} == {"one", "two"}


def test_a_namespace_that_is_gone_has_none(tmp_path: Path) -> None:
    """A pod may end while its figures are read."""
    absent, unpinned = str(tmp_path / "absent"), tmp_path / "unpinned"
    unpinned.touch()
    assert read_interfaces(absent, 0) == []
    assert read_interfaces(str(unpinned), 0) == []
    child = subprocess.Popen(["true"])
    child.wait()
    assert read_interfaces(absent, child.pid) == []
