"""Counters of network interfaces."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from crio.stats.network import Interface, parse, read_interfaces

TEXT = """Inter-|   Receive                  |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0  1000      10    0    0    0     0       0       0
  eth0:    2000      20    1    2    0     0          0         0  3000      30    3    4    0     0       0       0
"""


def test_parse() -> None:
    assert parse(TEXT) == [Interface("eth0", 2000, 20, 1, 2, 3000, 30, 3, 4)]
    assert parse("") == []


def test_a_process_shows_its_namespace() -> None:
    assert read_interfaces("/proc/self/ns/net", os.getpid()) == read_interfaces("/proc/self/ns/net", 0)


def test_a_namespace_that_is_gone_has_none(tmp_path: Path) -> None:
    """A pod may end while its figures are read."""
    absent, unpinned = str(tmp_path / "absent"), tmp_path / "unpinned"
    unpinned.touch()
    assert read_interfaces(absent, 0) == []
    assert read_interfaces(str(unpinned), 0) == []
    child = subprocess.Popen(["true"])
    child.wait()
    assert read_interfaces(absent, child.pid) == []
