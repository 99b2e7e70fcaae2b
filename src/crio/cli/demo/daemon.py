"""The daemon as a child process of the demonstration."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, DeadlineExceeded, Internal
from crio.base.process import kill_and_reap, signal_name, wait_pid_exit
from crio.cli.crioctl.session import Session
from crio.cli.demo.scratch import Scratch

READY_SECONDS = 30.0
STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.01


class Daemon:
    """`crio` on the scratch configuration; its output is in the scratch directory's crio.log."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    def start(self) -> None:
        """Spawn it; `wait_ready` waits until it serves."""
        command = os.path.join(os.path.dirname(sys.executable), "crio")
        argv = [command] if os.access(command, os.X_OK) else [sys.executable, "-m", "crio.cli.crio"]
        argv += ["--config", self._scratch.path("crio.conf"), "--config-dir", self._scratch.path("crio.conf.d")]
        with open(self._scratch.daemon_log, "ab") as log:
            self._child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def wait_ready(self, session: Session) -> pb.StatusResponse:
        """The daemon's status once runtime and network are ready. Raises DeadlineExceeded, Internal if it ended."""
        deadline = time.monotonic() + READY_SECONDS
        last = "it does not listen"
        while time.monotonic() < deadline:
            self._check_alive()
            if os.path.exists(self._scratch.socket):
                try:
                    status = await session.runtime.call("Status", pb.StatusRequest(), pb.StatusResponse, timeout=5)
                    waiting = [each for each in status.status.conditions if not each.status]
                    if not waiting:
                        return status
                    last = f"{waiting[0].type} is false: {waiting[0].reason} {waiting[0].message}"
                except CrioError as error:
                    last = error.message
            await asyncio.sleep(_LOOK_SECONDS)
        raise DeadlineExceeded(f"cannot use the daemon: not ready within {READY_SECONDS:g} s: {last}")

    def _check_alive(self) -> None:
        code = None if self._child is None else self._child.poll()
        if code is not None:
            how = f"exit code {code}" if code >= 0 else f"signal {signal_name(-code)}"
            raise Internal(f"cannot use the daemon: it ended with {how}")

    def memory(self) -> int:
        """Resident memory in bytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    async def stop(self) -> None:
        """Ask it to end, and wait. Raises Internal if it does not end well, DeadlineExceeded if it must be killed."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await wait_pid_exit(child)
            except TimeoutError:
                await kill_and_reap(child)
                raise DeadlineExceeded(f"cannot stop the daemon: killed after {STOP_SECONDS:g} s") from None
        if child.returncode != 0:
            self._check_alive()

    async def kill(self) -> None:
        """End it in any way; for cleaning up after a failure."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await wait_pid_exit(self._child)
            except TimeoutError:
                await kill_and_reap(self._child)

    def log_tail(self, lines: int = 30) -> list[str]:
        """The end of what it logged."""
        try:
            with open(self._scratch.daemon_log, encoding="utf-8", errors="replace") as file:
                return file.read()[-16384:].splitlines()[-lines:]
        except OSError:
            return []
