from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from crio.wire.sd_notify import Notifier, encode, status, watchdog_interval


def test_states() -> None:
    assert encode(["READY=1", status("two\nlines  here")]) == b"READY=1\nSTATUS=two lines here"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, 0.0),
        ({"WATCHDOG_USEC": "x"}, 0.0),
    ],
)
def test_watchdog(environ: dict[str, str], seconds: float) -> None:
    assert watchdog_interval(environ, 7) == seconds


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"crio-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        notifier = Notifier.take()
        assert "NOTIFY_SOCKET" not in os.environ
        assert notifier.watchdog_interval == 2.0
        assert notifier.ready("up")
        assert manager.recv(4096) == b"READY=1\nSTATUS=up"
        assert notifier.reloading()
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notifier.alive()
        assert manager.recv(4096) == b"WATCHDOG=1"
        assert notifier.stopping("bye")
        assert manager.recv(4096) == b"STOPPING=1\nSTATUS=bye"


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    assert not Notifier("").ready()
    assert not Notifier(str(tmp_path / "gone")).ready()
