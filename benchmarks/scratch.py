"""The directory, the pods' network and the cgroups of one run, and their removal."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from crio.linux.cgroup import detect

_POOL = ipaddress.IPv4Network("10.214.0.0/16")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_CNI_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")


class Scratch:
    """Everything is named by one random word. On a tmpfs, so that no disk is measured; short, for socket paths."""

    def __init__(self, parent: str = "/dev/shm") -> None:
        self.word = secrets.token_hex(3)
        self.root = Path(parent) / f"crio-bench-{self.word}"
        self.root.mkdir(mode=0o700)
        self.bridge = f"bench{self.word}"
        self.cgroup = f"/crio-bench-{self.word}"
        self.plugins = next((path for path in _CNI_DIRECTORIES if os.path.exists(f"{path}/bridge")), "")
        self._forwarding = _FORWARDING.read_text()
        self._write_network()

    def directory(self, name: str) -> Path:
        """A new directory; a number is added if the name is taken."""
        path, number = self.root / name, 1
        while path.exists():
            number += 1
            path = self.root / f"{name}{number}"
        path.mkdir()
        return path

    @property
    def network_directory(self) -> Path:
        return self.root / "net.d"

    def conflist(self) -> dict[str, object]:
        """The pods' network: a bridge with masquerading, and host ports, as most nodes without an overlay have it."""
        subnet = list(_POOL.subnets(new_prefix=20))[secrets.randbelow(16)]
        return {
            "cniVersion": "1.0.0",
            "name": f"bench-{self.word}",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": self.bridge,
                    "isGateway": True,
                    "ipMasq": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self.root / "ipam"),
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "ranges": [[{"subnet": str(subnet)}]],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }

    def _write_network(self) -> None:
        self.network_directory.mkdir()
        path = self.network_directory / "10-bench.conflist"
        path.write_text(json.dumps(self.conflist(), indent=1))

    def remove(self) -> None:
        """End what still runs in its cgroups, unmount, and remove links, cgroups and files. Daemons must have ended."""
        detect().kill(self.cgroup)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if target.startswith(f"{self.root}/"):
                subprocess.run(["umount", "-l", target], capture_output=True, check=False)
        self._remove_cgroups()
        shutil.rmtree(self.root, ignore_errors=True)
        if _FORWARDING.read_text() != self._forwarding:
            _FORWARDING.write_text(self._forwarding)

    def _remove_cgroups(self) -> None:
        name = self.cgroup[1:]
        for hierarchy in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
            for group, _, _ in os.walk(hierarchy / name, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(group)
