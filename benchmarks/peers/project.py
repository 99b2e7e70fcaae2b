"""This project's daemon."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import processes
from benchmarks.peers.cri import CriPeer
from benchmarks.results import PROJECT


class Project(CriPeer):
    """With the default configuration, but for directories, log level and registry."""

    name = PROJECT

    @property
    def socket(self) -> Path:
        return self.root / "crio.sock"

    def argv(self) -> list[str]:
        self._write()
        program = str(Path(sys.executable).parent / "crio")
        return [program, "--config", str(self.root / "crio.conf"), "--config-dir", str(self.root / "conf.d")]

    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "CONTAINERS_REGISTRIES_CONF": str(self.root / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": "/dev/null",
        }

    def _write(self) -> None:
        root = self.root
        registry = self.images["busybox"].partition("/")[0]
        (root / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
        (root / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        (root / "crio.conf").write_text(f"""
[crio]
root = "{root}/storage"
runroot = "{root}/run"
storage_driver = "overlay"
log_dir = "{root}/logs"
version_file = "{root}/state/version"
clean_shutdown_file = "{root}/lib/clean.shutdown"
[crio.api]
listen = "{self.socket}"
stream_address = "127.0.0.1"
stream_port = "0"
[crio.runtime]
default_runtime = "crun"
cgroup_manager = "cgroupfs"
namespaces_dir = "{root}/ns"
container_exits_dir = "{root}/state/exits"
container_attach_socket_dir = "{root}/state"
[crio.runtime.runtimes.crun]
runtime_root = "{root}/run-crun"
monitor_cgroup = "pod"
[crio.runtime.runtimes.runc]
runtime_root = "{root}/run-runc"
monitor_cgroup = "pod"
[crio.image]
signature_policy = "{root}/policy.json"
[crio.network]
network_dir = "{self.scratch.network_directory}"
plugin_dirs = ["{self.scratch.plugins}"]
""")

    def monitors(self) -> list[int]:
        """The containers' monitors with their servers, without the zygote and the one that it keeps ahead."""
        monitors = [
            int((directory / "conmon.pid").read_text())
            for directory in (self.root / "state" / "containers").iterdir()
            if (directory / "conmon.pid").exists()
        ]
        return processes.with_children(monitors, "conmon")

    def zygote(self) -> list[int]:
        """The zygote, and the monitor with its starter that waits for the next container."""
        monitors = set(self.monitors())
        return [
            pid
            for pid in processes.descendants(self.pid)[1:]
            if processes.command(pid).startswith("conmon") and pid not in monitors
        ]

    def bundle(self, container: str) -> Path:
        """Where a container's config.json is."""
        return self.root / "state" / "containers" / container

    def worker(self) -> int:
        """The image worker's process, 0 if it has left."""
        for pid in processes.descendants(self.pid):
            if b"crio.image.worker" in processes.command_line(pid):
                return pid
        return 0
