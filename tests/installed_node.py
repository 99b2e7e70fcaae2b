"""The daemon as an administrator has it: installed, and run by systemd. Only for machines that are thrown away."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from crio.api.runtime.v1 import api_pb2 as pb
from node import Node

CHECKOUT = Path(__file__).resolve().parent.parent
SOCKET = "/var/run/crio/crio.sock"
WHEELS = "/wheels"
"""Where the guest has the Python packages, since it has no network."""


def run(*command: str, check: bool = True) -> str:
    """Output of a command, with its errors."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def install(scratch: Path) -> str:
    """Install the package that `./dev deb` has made, or else the checkout; tells which of them it was."""
    packages = sorted(glob.glob(str(CHECKOUT / "dist" / "crio_*.deb")))
    if packages:
        run("dpkg", "--install", packages[-1])
        return "deb"
    wheels = scratch / "wheels"
    wheels.mkdir()
    for name in os.listdir(WHEELS):
        (wheels / name).symlink_to(f"{WHEELS}/{name}")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-build-isolation", "--no-deps"]
    run(*pip, "-w", str(wheels), str(CHECKOUT))
    run(sys.executable, "-m", "crio.cli.install", "--wheels", str(wheels), "/usr")
    shutil.rmtree(wheels)
    return "checkout"


def uninstall(kind: str) -> None:
    """Undo `install`, which has told `kind`. The daemon must be stopped."""
    if kind == "deb":
        run("dpkg", "--remove", "crio")
    else:
        run("/opt/crio/bin/python", "-m", "crio.cli.install", "--uninstall", "/usr")
    run("systemctl", "daemon-reload")


class InstalledNode(Node):
    """The machine's own daemon; its calls are those of every node of the tests."""

    def __init__(self) -> None:
        self.runtime = "crun"
        self.root = Path("/")
        self.socket = Path(SOCKET)
        self.logs = Path("/var/log/pods")
        self.process = None
        self._client = None

    async def ready(self, seconds: float = 60.0) -> None:
        """Wait until the daemon answers."""
        end = time.monotonic() + seconds
        while True:
            try:
                await self.call("Version", pb.VersionRequest(), pb.VersionResponse, timeout=5)
                return
            except Exception:  # noqa: BLE001 - not there yet, for whatever reason
                await self.close_client()
                if time.monotonic() > end:
                    raise AssertionError(run("journalctl", "-u", "crio", "-n", "40", check=False)) from None
                time.sleep(0.1)
