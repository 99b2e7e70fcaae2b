"""Real containers of busybox under real monitors, and everything that must be cleaned up of them."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from cgroup_hybrid import crun_cgroups
from crio.base.process import DEFAULT_ENV
from crio.conmon.client import ZygoteClient
from crio.conmon.spec import MonitorSpec
from crio.conmon.watch import Monitor
from crio.linux.cgroup import detect
from crio.linux.mount import unmount_below
from oci_bundle import make_bundle


@contextmanager
def container_cgroups() -> Iterator[str]:
    """A cgroup path for containers, and a cgroup layout that crun accepts."""
    path = f"/crio-test-{secrets.token_hex(4)}"
    with crun_cgroups():
        groups = detect()
        try:
            yield path
        finally:
            groups.kill(path, timeout=60)
            groups.remove(path, timeout=60)


class Bed:
    """Creates containers in a directory of its own."""

    def __init__(self, zygote: ZygoteClient, directory: str, rootfs: str, cgroups: str) -> None:
        self.zygote = zygote
        self.directory = directory
        self.exits = f"{directory}/exits"
        self.runtime = shutil.which("crun") or "/usr/bin/crun"
        self._rootfs = rootfs
        self._cgroups = cgroups
        self._made: dict[str, str] = {}
        self._monitors: list[Monitor] = []
        os.mkdir(self.exits)

    @property
    def env(self) -> dict[str, str]:
        """A runtime that is killed leaves what it makes for its protection here, and not in /tmp."""
        return {**DEFAULT_ENV, "_LIBCONTAINER_STATEDIR": self.directory}

    @property
    def root(self) -> str:
        return f"{self.directory}/{os.path.basename(self.runtime)}"

    def spec(self, args: Sequence[str], *, bundle_options: dict[str, Any] | None = None, **options: Any) -> MonitorSpec:
        container_id = f"t{secrets.token_hex(8)}"
        options.setdefault("log_path", f"{self.directory}/{container_id}.log")
        options.setdefault("env", self.env)
        terminal = bool(options.get("terminal", False))
        bundle = make_bundle(
            f"{self.directory}/{container_id}",
            self._rootfs,
            args,
            cgroup=f"{self._cgroups}/{container_id}",
            terminal=terminal,
            **(bundle_options or {}),
        )
        return MonitorSpec(
            id=container_id,
            name=f"name-{container_id}",
            bundle=bundle,
            runtime_path=self.runtime,
            runtime_root=self.root,
            exit_dir=self.exits,
            no_sync_log=True,
            **options,
        )

    async def create(self, args: Sequence[str], **options: Any) -> Monitor:
        spec = self.spec(args, **options)
        self._made[spec.id] = self.runtime
        monitor = await self.zygote.create(spec)
        self._monitors.append(monitor)
        return monitor

    def run(self, *arguments: str) -> None:
        subprocess.run([self.runtime, "--root", self.root, *arguments], check=True, stdin=subprocess.DEVNULL)

    async def start(self, monitor: Monitor) -> None:
        await asyncio.to_thread(self.run, "start", monitor.id)

    async def run_to_end(self, args: Sequence[str], **options: Any) -> Monitor:
        """Create, start and wait."""
        monitor = await self.create(args, **options)
        await self.start(monitor)
        await monitor.wait()
        return monitor

    def log_path(self, monitor: Monitor) -> str:
        return f"{self.directory}/{monitor.id}.log"

    def log(self, monitor: Monitor) -> list[tuple[str, str, str]]:
        """Stream, tag and text of each entry of a log."""
        with open(self.log_path(monitor), encoding="utf-8", errors="surrogateescape") as file:
            entries = [line.rstrip("\n").split(" ", 3) for line in file]
        return [(stream, tag, text) for _, stream, tag, text in entries]

    def text(self, monitor: Monitor) -> str:
        """What the container has written, with lines put together again."""
        return "".join(text + ("\n" if tag == "F" else "") for _, tag, text in self.log(monitor))

    def adopt(self, monitor: Monitor) -> Monitor:
        self._monitors.append(monitor)
        return monitor

    def remember(self, container_id: str) -> None:
        self._made[container_id] = self.runtime

    async def clean_up(self) -> None:
        for monitor in self._monitors:
            if monitor.exited is None and monitor.pid:
                try:
                    os.kill(monitor.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            await monitor.wait_gone(60)
            monitor.close()
        for container_id, runtime in self._made.items():
            command = [runtime, "--root", f"{self.directory}/{os.path.basename(runtime)}", "delete", "--force"]
            await asyncio.to_thread(subprocess.run, [*command, container_id], check=False, capture_output=True)


@asynccontextmanager
async def monitor_bed(rootfs: str, cgroups: str) -> AsyncIterator[Bed]:
    """A bed with a running zygote, on a tmpfs."""
    directory = f"/dev/shm/conmon-test-{secrets.token_hex(4)}"
    os.mkdir(directory)
    zygote = ZygoteClient()
    await zygote.start()
    bed = Bed(zygote, directory, rootfs, cgroups)
    try:
        yield bed
    finally:
        await bed.clean_up()
        await zygote.stop()
        unmount_below(directory)
        shutil.rmtree(directory)


def is_alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def files_of(pid: int) -> list[str]:
    """What a process has open, as /proc names it."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
    return found
