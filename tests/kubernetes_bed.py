"""A Kubernetes of one node for tests: etcd, the control plane's programs and a kubelet on loopback, from the PATH."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from node import Node
from registry_server import free_port

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
TOKEN = "test-token"
NODE_NAME = "localhost"


def missing(*programs: str) -> list[str]:
    """Those that are not on the PATH."""
    return [name for name in programs if shutil.which(name) is None]


def eventually(what: str, check: Callable[[], Any], timeout: float = 180.0, interval: float = 0.5) -> Any:
    """The first true result of `check`; it may raise AssertionError or LookupError until then."""
    end = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            last = check()
            if last:
                return last
        except (AssertionError, LookupError, subprocess.CalledProcessError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout:g} s; last: {last!r}")
        time.sleep(interval)


class Kubelet:
    """A kubelet for `node`; alone with manifests in `manifests`, or with `kubeconfig` as part of a cluster."""

    def __init__(self, node: Node, kubeconfig: str = "", **settings: object) -> None:
        self.node = node
        self.root = node.root / "kubelet"
        self.manifests = node.root / "manifests"
        self.log = node.root / "kubelet.log"
        self.port, self.healthz = free_port(), free_port()
        self._kubeconfig = kubeconfig
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self.root, self.manifests):
            path.mkdir(exist_ok=True)
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": "unix:///var/run/crio/crio.sock",
            "address": "127.0.0.1",
            "port": self.port,
            "healthzPort": self.healthz,
            "readOnlyPort": 0,
            "staticPodPath": str(self.manifests),
            "podLogsDir": str(node.root / "podlogs"),
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/kube-{node.tag}",
            "cgroupsPerQOS": True,
            "failSwapOn": False,
            "enforceNodeAllocatable": ["pods"],
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "clusterDNS": ["10.96.0.10"],
            "clusterDomain": "cluster.local",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "registerWithTaints": [],
            "fileCheckFrequency": "1s",
            "syncFrequency": "5s",
            "nodeStatusUpdateFrequency": "5s",
            "resolvConf": "/etc/resolv.conf",
            "volumePluginDir": str(node.root / "volumeplugins"),
            **settings,
        }
        (node.root / "kubelet.json").write_text(json.dumps(config))

    def start(self) -> None:
        """Start it; it finds what runs already."""
        # cgroupRoot must exist in every hierarchy before the start.
        for hierarchy in Path("/sys/fs/cgroup").iterdir():
            if hierarchy.is_dir() and (hierarchy / "cgroup.procs").exists():
                (hierarchy / f"kube-{self.node.tag}").mkdir(exist_ok=True)
                cpuset = hierarchy / f"kube-{self.node.tag}" / "cpuset.cpus"
                if cpuset.exists():
                    for name in ("cpuset.cpus", "cpuset.mems"):
                        (cpuset.parent / name).write_text((hierarchy / name).read_text())
        argv = [
            "nsenter",
            f"--mount={self.node.env['KUBENSMNT']}",
            "kubelet",
            f"--config={self.node.root}/kubelet.json",
            f"--root-dir={self.root}",
            f"--cert-dir={self.root}/pki",
            f"--hostname-override={NODE_NAME}",
            "--v=2",
        ]
        if self._kubeconfig:
            argv.append(f"--kubeconfig={self._kubeconfig}")
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        """End it; pods go on."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def ask(self, path: str) -> Any:
        """What it serves at `path`: a JSON value, or text. Raises AssertionError as long as it does not."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        url = f"https://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, context=context, timeout=60) as answer:
                body = answer.read().decode()
        except OSError as error:
            raise AssertionError(f"the kubelet does not answer: {error}\n{self.log_tail()}") from None
        return json.loads(body) if body.startswith(("{", "[")) else body

    def figures(self, path: str) -> dict[str, float]:
        """Prometheus metrics: name with labels, and value."""
        lines = (line.split() for line in self.ask(path).splitlines() if not line.startswith("#"))
        return {line[0]: float(line[1]) for line in lines if len(line) > 1}

    def log_tail(self, lines: int = 40) -> str:
        return (
            "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else "(no log)"
        )

    def clean(self) -> None:
        """Remove its control groups; after the last pod is gone. Its mounts go with the namespace."""
        for hierarchy in Path("/sys/fs/cgroup").iterdir():
            top = hierarchy / f"kube-{self.node.tag}"
            if top.is_dir():
                for directory, _, _ in os.walk(top, topdown=False):
                    Path(directory).rmdir()


class Cluster:
    """etcd, kube-apiserver, controller manager and scheduler, each with its data below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.kubeconfig = str(root / "kubeconfig")
        self._etcd = (free_port(), free_port())
        self._ports = (free_port(), free_port())
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        root.mkdir(exist_ok=True)

    def start(self) -> None:
        """Start everything and wait until the API answers."""
        root = self.root
        (root / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
        subprocess.run(["openssl", "genrsa", "-out", root / "sa.key", "2048"], check=True, capture_output=True)
        config: Mapping[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {"server": f"https://127.0.0.1:{self.port}", "insecure-skip-tls-verify": True},
                }
            ],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        Path(self.kubeconfig).write_text(json.dumps(config))
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd)
        self._run(
            "etcd",
            f"--data-dir={root}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        self._run(
            "kube-apiserver",
            f"--etcd-servers={client}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={root}/pki",
            f"--token-auth-file={root}/tokens.csv",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={root}/sa.key",
            f"--service-account-signing-key-file={root}/sa.key",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=Hostname",
            "--allow-privileged=true",
        )
        eventually("the API server is ready", lambda: self.kubectl("get", "--raw", "/readyz").strip() == "ok")
        for name, port in zip(("kube-controller-manager", "kube-scheduler"), self._ports, strict=True):
            more = (f"--service-account-private-key-file={root}/sa.key",) if "manager" in name else ()
            self._run(
                name,
                f"--kubeconfig={self.kubeconfig}",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--cert-dir={root}/pki-{name}",
                *more,
            )
        eventually("the default service account is there", lambda: self.get("serviceaccount", "default"))

    def stop(self) -> None:
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _run(self, program: str, *arguments: str) -> None:
        with open(self.root / f"{program}.log", "ab") as log:
            self._processes[program] = subprocess.Popen(
                [program, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.root
            )

    # kubectl

    def kubectl(self, *arguments: str, stdin: str = "", timeout: float = 180.0, check: bool = True) -> str:
        """Its output. With `check`, raises CalledProcessError if it fails."""
        return subprocess.run(
            ["kubectl", f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.root}/cache", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
        ).stdout

    def get(self, kind: str, name: str) -> Any:
        return json.loads(self.kubectl("get", kind, name, "-o", "json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--validate=false", "-f", "-", stdin=json.dumps(document))

    def events(self, name: str) -> list[Any]:
        """Of the pod `name`."""
        selector = f"--field-selector=involvedObject.name={name}"
        return list(json.loads(self.kubectl("get", "events", selector, "-o", "json"))["items"])

    def wait_pod(self, name: str, check: Callable[[Mapping[str, Any]], object], timeout: float = 180.0) -> Any:
        """The pod, once `check` of it is true."""

        def look() -> Any:
            pod = self.get("pod", name)
            return pod if check(pod) else None

        return eventually(f"pod {name}", look, timeout)


def pod(name: str, *containers: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod's manifest."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": list(containers), **spec},
    }


def container(name: str, command: Sequence[str], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": "localhost/busybox:latest",
        "imagePullPolicy": "Never",
        "command": list(command),
        **more,
    }


def has_ended(pod: Mapping[str, Any]) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
