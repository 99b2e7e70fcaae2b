from __future__ import annotations

import os
import socket
from pathlib import Path

from crio.cli.doctor.finding import Level, Patient
from crio.cli.doctor.machine import check, daemon_pid


def test_who_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert daemon_pid(path) == 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        assert daemon_pid(path) == os.getpid()


def test_clock_and_limits_are_told(tmp_path: Path) -> None:
    found = list(check(Patient(None, str(tmp_path / "none"))))
    assert found[0].subject == "clock"
    assert all(each.level is not Level.ERROR for each in found)
    assert all(each.remedy for each in found if each.level is Level.WARNING)
