"""The demonstration's own directories, configuration and network, apart from everything of the machine."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from crio.base.errors import ResourceExhausted
from crio.cli.demo.host import Host
from crio.linux.mount import is_mount_point, umount

_POOL = ipaddress.IPv4Network("10.210.0.0/16")
_FORWARDING = "/proc/sys/net/ipv4/ip_forward"


@dataclass(frozen=True, slots=True)
class Scratch:
    """Names and paths, all made of one random word, so that nothing else on the machine is touched."""

    word: str
    directory: str
    subnet: ipaddress.IPv4Network

    @classmethod
    def make(cls, parent: str = "") -> Scratch:
        """A new directory below `parent` (default: the system's place for temporary files) and a free subnet."""
        word = secrets.token_hex(3)
        # A short path: unix sockets end at 107 characters.
        directory = tempfile.mkdtemp(prefix=f"crio-demo-{word}-", dir=parent or None)
        return cls(word, directory, _free_subnet())

    def path(self, *names: str) -> str:
        return os.path.join(self.directory, *names)

    @property
    def socket(self) -> str:
        return self.path("crio.sock")

    @property
    def bridge(self) -> str:
        return f"criodemo{self.word}"

    @property
    def network(self) -> str:
        return f"crio-demo-{self.word}"

    @property
    def cgroup_parent(self) -> str:
        return f"/crio-demo-{self.word}"

    @property
    def log_directory(self) -> str:
        return self.path("logs")

    @property
    def daemon_log(self) -> str:
        return self.path("crio.log")

    def write(self, host: Host) -> None:
        """Write crio.conf, the CNI configuration and the directories that the daemon does not make."""
        for name in ("logs", "cni", "crio.conf.d"):
            os.makedirs(self.path(name), exist_ok=True)
        with open(self.path("crio.conf"), "w", encoding="utf-8") as file:
            file.write(self._crio_conf(host))
        with open(self.path("policy.json"), "w", encoding="utf-8") as file:
            json.dump({"default": [{"type": "insecureAcceptAnything"}]}, file)
        with open(self.path("cni", "10-demo.conflist"), "w", encoding="utf-8") as file:
            json.dump(self._conflist(), file, indent=2)

    def _crio_conf(self, host: Host) -> str:
        def text(value: str) -> str:
            return json.dumps(value)

        plugins = ", ".join(map(text, host.plugin_directories))
        return f"""[crio]
root = {text(self.path("root"))}
runroot = {text(self.path("runroot"))}
storage_driver = "overlay"
log_dir = {text(self.log_directory)}
version_file = {text(self.path("version"))}
clean_shutdown_file = {text(self.path("clean.shutdown"))}

[crio.api]
listen = {text(self.socket)}
stream_address = "127.0.0.1"
stream_port = "0"

[crio.runtime]
default_runtime = {text(host.runtime)}
cgroup_manager = "cgroupfs"
namespaces_dir = {text(self.path("ns"))}
container_exits_dir = {text(self.path("exits"))}
container_attach_socket_dir = {text(self.path("attach"))}
log_level = "info"

[crio.runtime.runtimes.{host.runtime}]
runtime_path = {text(host.runtime_path)}
runtime_root = {text(self.path("runtime"))}
runtime_type = "oci"

[crio.image]
signature_policy = {text(self.path("policy.json"))}

[crio.network]
network_dir = {text(self.path("cni"))}
plugin_dirs = [{plugins}]

[crio.nri]
enable_nri = false
"""

    def _conflist(self) -> dict[str, object]:
        return {
            "cniVersion": "1.0.0",
            "name": self.network,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": self.bridge,
                    "isGateway": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": self.path("ipam"),
                        "ranges": [[{"subnet": str(self.subnet)}]],
                    },
                }
            ],
        }

    def remove_network(self) -> None:
        """Remove the bridge: plug-ins make it with the first pod and leave it for the next ones."""
        if os.path.exists(f"/sys/class/net/{self.bridge}"):
            subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, timeout=10, check=False)

    def remove_cgroups(self) -> None:
        """Remove the pods' parent group, which a kubelet would have made and would remove. Only if it is empty."""
        for root, directories, _ in os.walk("/sys/fs/cgroup"):
            if self.cgroup_parent[1:] in directories:
                for group, _, _ in os.walk(os.path.join(root, self.cgroup_parent[1:]), topdown=False):
                    try:
                        os.rmdir(group)
                    except OSError:
                        pass
                directories.remove(self.cgroup_parent[1:])

    def remove_base_mounts(self) -> None:
        """Unmount the directories that the daemon mounts onto themselves for all pods, for propagation. Only these."""
        for path in (self.path("ns", "netns"), self.path("root", "overlay")):
            try:
                if is_mount_point(path):
                    umount(path)
            except OSError:
                pass  # in use: the look for leftovers tells

    def remove(self) -> None:
        """Delete the directory. What is still mounted in it is not touched."""
        shutil.rmtree(self.directory, ignore_errors=True)


def forwarding() -> str:
    """Whether the machine forwards IPv4 packets; the bridge plug-in switches it on."""
    with open(_FORWARDING, encoding="ascii") as file:
        return file.read().strip()


def set_forwarding(value: str) -> None:
    if forwarding() != value:
        with open(_FORWARDING, "w", encoding="ascii") as file:
            file.write(value)


def _free_subnet() -> ipaddress.IPv4Network:
    """A /24 of the pool to which no route leads."""
    used: list[ipaddress.IPv4Network] = []
    with open("/proc/net/route", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            parts = line.split()
            address, mask = (ipaddress.IPv4Address(bytes.fromhex(parts[index])[::-1]) for index in (1, 7))
            if int(mask):
                used.append(ipaddress.IPv4Network(f"{address}/{mask}", strict=False))
    subnets = list(_POOL.subnets(new_prefix=24))
    start = secrets.randbelow(len(subnets))
    for subnet in subnets[start:] + subnets[:start]:
        if not any(subnet.overlaps(other) for other in used):
            return subnet
    raise ResourceExhausted(f"cannot find a free subnet: every part of {_POOL} has a route already")
