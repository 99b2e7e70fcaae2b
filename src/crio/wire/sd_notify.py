"""What a service tells systemd (sd_notify(3)): ready, reloading, stopping, alive, and a line of status.

The state lines are pure; `Notifier` sends them to NOTIFY_SOCKET, and does nothing where there is none.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def reloading(monotonic_ns: int) -> tuple[str, str]:
    """The state of a reload that begins; `READY` ends it. The time is CLOCK_MONOTONIC."""
    return "RELOADING=1", f"MONOTONIC_USEC={monotonic_ns // 1000}"


def status(text: str) -> str:
    """A line for `systemctl status`."""
    return "STATUS=" + " ".join(text.split())


def encode(states: Sequence[str]) -> bytes:
    """One datagram."""
    return "\n".join(states).encode()


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float:
    """Seconds after which systemd restarts a service that gives no sign of life; 0: never (sd_watchdog_enabled(3))."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return 0.0
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdigit() else 0.0


class Notifier:
    """Talks to the service manager that started this process, if one did."""

    def __init__(self, path: str, interval: float = 0.0) -> None:
        self._path = f"\0{path[1:]}" if path.startswith("@") else path
        self.watchdog_interval = interval

    @classmethod
    def take(cls) -> Notifier:
        """From the environment, out of which the variables are taken so that no child thinks they are meant for it."""
        notifier = cls(os.environ.get("NOTIFY_SOCKET", ""), watchdog_interval(os.environ, os.getpid()))
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            os.environ.pop(name, None)
        return notifier

    def send(self, *states: str) -> bool:
        """Send states at once; whether they could be sent. It never blocks and never raises for an absent manager."""
        if not self._path:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto(encode(states), self._path)
            except OSError:
                return False
        return True

    def ready(self, text: str = "") -> bool:
        return self.send(READY, status(text))

    def reloading(self) -> bool:
        return self.send(*reloading(time.monotonic_ns()))

    def stopping(self, text: str = "") -> bool:
        return self.send(STOPPING, status(text))

    def alive(self) -> bool:
        return self.send(WATCHDOG)
