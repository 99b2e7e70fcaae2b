"""kubeadm on a node of this project's: images of the control plane from the PATH, their registry, a systemctl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from images import LayoutBuilder, layer
from kubernetes_bed import Cluster
from kubernetes_place import NODE_ADDRESS
from node import Node
from registry_server import RunningRegistry

NAME = "node"
PROGRAMS = ("kubeadm", "kubelet", "kubectl", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_TAR = "application/vnd.oci.image.layer.v1.tar"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SYSTEMCTL = """#!/bin/sh
# What kubeadm asks of systemd: start, stop and state of one unit.
pid=$(cat {root}/kubelet.pid 2>/dev/null)
case "$1" in
start | restart)
    [ -z "$pid" ] || kill "$pid"
    . /var/lib/kubelet/kubeadm-flags.env
    setsid kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \\
        --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml \\
        $KUBELET_KUBEADM_ARGS </dev/null >>{root}/kubelet.log 2>&1 &
    echo $! >{root}/kubelet.pid
    ;;
stop)
    [ -z "$pid" ] || kill "$pid"
    while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -f {root}/kubelet.pid
    ;;
status) [ -n "$pid" ] && echo "Active: active (running)" || echo "Active: inactive (dead)" ;;
esac
"""


class Kubeadm:
    """kubeadm in the network of this thread and the mount namespace of `node`, with an /etc of its own."""

    def __init__(self, node: Node, root: Path) -> None:
        self.node = node
        self.root = root
        self.config = root / "kubeadm.json"
        self._path = f"{root}/bin:{os.environ['PATH']}"
        (root / "bin").mkdir(parents=True)
        systemctl = root / "bin" / "systemctl"
        systemctl.write_text(SYSTEMCTL.format(root=root))
        systemctl.chmod(0o755)
        for name in ("etc", "etc.work"):
            (root / name).mkdir()
        options = f"lowerdir=/etc,upperdir={root}/etc,workdir={root}/etc.work"
        self.run("mount", "-t", "overlay", "-o", options, "etc", "/etc")
        self.run("sh", "-c", f"echo {NODE_ADDRESS} {NAME} >>/etc/hosts")
        self.version = self.run("kubeadm", "version", "-o", "short").strip()
        kubelet = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "failSwapOn": False,
            "cgroupRoot": f"/kube-{node.tag}",
        }
        cluster = {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": self.version,
            "networking": {"podSubnet": str(node.subnet)},
            "dns": {"disabled": True},
            "proxy": {"disabled": True},
        }
        init = {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": NODE_ADDRESS},
            "nodeRegistration": {
                "name": NAME,
                "criSocket": "unix:///var/run/crio/crio.sock",
                "taints": [],
                "kubeletExtraArgs": [{"name": "node-ip", "value": NODE_ADDRESS}],
            },
        }
        self.config.write_text("\n---\n".join(json.dumps(each) for each in (init, cluster, kubelet)))

    def run(self, *command: str, timeout: float = 60.0) -> str:
        """Output of a command on the node, with its errors. Raises AssertionError if it fails."""
        argv = ["nsenter", f"--mount={self.node.env['KUBENSMNT']}", *command]
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": self._path, "HOME": str(self.root)},
        )
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def images(self) -> list[str]:
        """The names of what it wants to run."""
        listed = self.run("kubeadm", "config", "images", "list", f"--config={self.config}")
        return [line for line in listed.splitlines() if line.startswith("registry.k8s.io/")]

    def publish(self, registry: RunningRegistry) -> None:
        """Put images of the programs on the PATH into `registry`, and make it the mirror of Kubernetes' own one."""
        for name in self.images():
            repository = name.removeprefix("registry.k8s.io/")
            program = repository.partition(":")[0]
            directory = self.root / "layout"
            _program_layout(str(directory), program)
            registry.push(f"oci:{directory}:latest", repository, "--preserve-digests")
            shutil.rmtree(directory)
        (self.node.root / "registries.conf").write_text(
            '[[registry]]\nlocation = "registry.k8s.io"\n'
            f'[[registry.mirror]]\nlocation = "{registry.host}"\ninsecure = true\n'
        )

    def cluster(self) -> Cluster:
        """kubectl with the administrator's rights, from outside of the node."""
        cluster = Cluster(self.root / "admin")
        cluster.kubeconfig = f"{self.root}/etc/kubernetes/admin.conf"
        return cluster

    def log_tail(self, lines: int = 60) -> str:
        path = self.root / "kubelet.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"

    def make_cgroups(self) -> None:
        """cgroupRoot, which a kubelet wants to find in every hierarchy."""
        for group in self._cgroups():
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (group / name).exists():
                    (group / name).write_text((group.parent / name).read_text())

    def remove_cgroups(self) -> None:
        for group in self._cgroups():
            for directory, _, _ in os.walk(group, topdown=False):
                Path(directory).rmdir()

    def _cgroups(self) -> list[Path]:
        hierarchies = [path for path in Path("/sys/fs/cgroup").iterdir() if (path / "cgroup.procs").exists()]
        return [path / f"kube-{self.node.tag}" for path in hierarchies if path.is_dir()]


def _program_layout(directory: str, program: str) -> None:
    """An OCI layout with one image of one static program; without compression, which is most of the time."""
    files: Mapping[str, bytes | str | None] = {"etc": None, "usr": None, "usr/local": None, "usr/local/bin": None}
    found = shutil.which(program)
    content = Path(found).read_bytes() if found else b"not run here"
    stack: Sequence[bytes] = [layer({**files, f"usr/local/bin/{program}": content}, mode=0o755)]
    builder = LayoutBuilder(directory)
    settings = {"Env": [f"PATH={_PATH}"], "Entrypoint": [f"/usr/local/bin/{program}"]}
    manifest = builder.manifest(builder.config(stack, config=settings), [builder.blob(each, _TAR) for each in stack])
    builder.finish({"latest": manifest})
