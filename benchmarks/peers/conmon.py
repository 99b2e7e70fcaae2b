"""The monitor written in C, as CRI-O runs it, and this project's without its daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.results import PROJECT
from benchmarks.scratch import Scratch
from crio.conmon.client import ZygoteClient
from crio.conmon.spec import MonitorSpec
from crio.conmon.watch import Monitor
from oci_bundle import make_bundle, make_rootfs


class MonitorPeer(ABC):
    """Runs containers of a busybox under a monitor, with the log on a tmpfs."""

    name: str

    def __init__(self, scratch: Scratch) -> None:
        self.directory = scratch.directory(f"monitor-{self.name}")
        self.exits = self.directory / "exits"
        self.exits.mkdir()
        self.runtime = shutil.which("crun") or "/usr/bin/crun"
        self.runtime_root = str(self.directory / "run")
        self._cgroup = scratch.cgroup
        self._rootfs = make_rootfs(str(self.directory / "rootfs"))
        self._number = 0

    def bundle(self, command: Sequence[str], data: Path | None = None) -> str:
        """The id of a container whose bundle is ready; `data` is a file that it sees as /data."""
        self._number += 1
        container = f"m{self._number}"
        directory = make_bundle(
            str(self.directory / container), self._rootfs, command, cgroup=f"{self._cgroup}/{self.name}{container}"
        )
        if data is not None:
            (Path(self._rootfs) / "data").touch()
            config = Path(directory) / "config.json"
            spec: dict[str, Any] = json.loads(config.read_text())
            mount = {"destination": "/data", "type": "bind", "source": str(data), "options": ["bind", "ro"]}
            spec["mounts"].append(mount)
            config.write_text(json.dumps(spec))
        return container

    def log(self, container: str) -> Path:
        return self.directory / f"{container}.log"

    @abstractmethod
    async def create(self, container: str) -> int:
        """The container, created and not started, under a monitor; the monitor's pid."""

    def start(self, container: str) -> None:
        self._run("start", container)

    async def end(self, container: str) -> None:
        """Kill and remove it; its monitor then ends."""
        pid = int((self.directory / container / "pid").read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(processes.wait_gone, pid)
        self._run("delete", "--force", container)
        self.log(container).unlink(missing_ok=True)

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [self.runtime, "--root", self.runtime_root, *arguments], check=True, capture_output=True, timeout=60
        )


class ProjectMonitor(MonitorPeer):
    name = PROJECT

    def __init__(self, scratch: Scratch) -> None:
        super().__init__(scratch)
        self._zygote = ZygoteClient()
        self._monitors: dict[str, Monitor] = {}

    async def create(self, container: str) -> int:
        monitor = await self._zygote.create(
            MonitorSpec(
                id=container,
                name=container,
                bundle=str(self.directory / container),
                runtime_path=self.runtime,
                runtime_root=self.runtime_root,
                exit_dir=str(self.exits),
                log_path=str(self.log(container)),
                no_sync_log=True,
            )
        )
        self._monitors[container] = monitor
        return monitor.monitor_pid

    async def end(self, container: str) -> None:
        await super().end(container)
        monitor = self._monitors.pop(container)
        await monitor.wait_gone(10)
        monitor.close()

    async def close(self) -> None:
        await self._zygote.stop()


class ConmonC(MonitorPeer):
    name = "conmon"

    async def create(self, container: str) -> int:
        bundle, sockets = self.directory / container, self.directory / "sockets"
        sockets.mkdir(exist_ok=True)
        argv = [
            "conmon", "--cid", container, "--name", container, "--cuuid", container, "--runtime", self.runtime,
            "--runtime-arg", f"--root={self.runtime_root}", "--bundle", str(bundle), "--container-pidfile",
            str(bundle / "pid"), "--conmon-pidfile", str(bundle / "conmon.pid"), "--log-path",
            f"k8s-file:{self.log(container)}", "--exit-dir", str(self.exits), "--socket-dir-path", str(sockets),
            "--no-sync-log",
        ]  # fmt: skip
        # It answers on this pipe when the runtime has created the container; without one it would not create before
        # somebody attaches.
        receive, answer = os.pipe()
        try:
            environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "_OCI_SYNCPIPE": str(answer)}
            # The first process ends at once: the monitor is its child, and then that of the nearest subreaper.
            first = subprocess.Popen(
                argv, env=environment, pass_fds=(answer,), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            os.close(answer)
            answer = -1
            first.wait()
            said = await asyncio.to_thread(os.read, receive, 4096)
        finally:
            os.close(receive)
            if answer >= 0:
                os.close(answer)
        if not said or json.loads(said.splitlines()[0]).get("pid", -1) <= 0:
            raise RuntimeError(f"conmon could not create a container: {said.decode(errors='replace')}")
        return int((bundle / "conmon.pid").read_text())

    async def end(self, container: str) -> None:
        monitor = int((self.directory / container / "conmon.pid").read_text())
        await super().end(container)
        with contextlib.suppress(ChildProcessError):
            await asyncio.to_thread(os.waitpid, monitor, 0)
