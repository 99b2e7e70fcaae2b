"""The distribution's containerd with its CRI plug-in."""

from __future__ import annotations

import contextlib
from pathlib import Path

from benchmarks import processes
from benchmarks.peers.cri import CriPeer

PROGRAM = "/usr/bin/containerd"
_SHIM_SOCKETS = Path("/run/containerd/s")


class Containerd(CriPeer):
    """With its defaults, but for directories, registry, the two OCI runtimes and the pods' network."""

    name = "containerd"

    @property
    def socket(self) -> Path:
        return self.root / "c.sock"

    def argv(self) -> list[str]:
        self._write()
        return [PROGRAM, "--config", str(self.root / "config.toml"), "--log-level", "warn"]

    def environment(self) -> dict[str, str]:
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

    def _write(self) -> None:
        root = self.root
        runtimes = "".join(
            f"""
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
  BinaryName = "{name}"
  Root = "{root}/run-{name}"
"""
            for name in ("crun", "runc")
        )
        (root / "config.toml").write_text(f"""
version = 2
root = "{root}/root"
state = "{root}/state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{self.images["pause"]}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{self.scratch.plugins}"
  conf_dir = "{self.scratch.network_directory}"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "crun"
{runtimes}""")

    def monitors(self) -> list[int]:
        return [pid for pid in self.processes() if processes.command(pid).startswith("containerd-shim")]

    def pauses(self) -> list[int]:
        return [pid for pid in self.processes() if processes.command(pid) == "busybox-pause"]

    async def stop(self) -> None:
        await super().stop()
        # Where its shims have their sockets cannot be configured; they are gone by now.
        for directory in (_SHIM_SOCKETS, _SHIM_SOCKETS.parent):
            with contextlib.suppress(OSError):
                directory.rmdir()
