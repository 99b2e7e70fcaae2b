"""A whole node for tests: a scratch configuration, the daemon as a process of its own, and a client for it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from crio.api.crio.v1 import control_pb2
from crio.api.runtime.v1 import api_pb2 as pb
from crio.linux.cgroup import detect
from crio.linux.pidfd import process_alive
from crio.linux.process_tree import children_of
from crio.rpc.client import Client
from crio.sandbox.cgroups import unit_names

Response = TypeVar("Response", bound=Message)

CNI_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
CGROUP_MANAGER = os.environ.get("CRIO_TEST_CGROUP_MANAGER", "cgroupfs")
"""Which of crio.conf's cgroup managers the nodes have; "systemd" needs a machine that systemd runs."""
SCRATCH = Path("/dev/shm")
"""Where nodes of tests have their directories: on a tmpfs, with names short enough for socket paths."""
PATIENCE = 60.0
"""Seconds to wait for what takes a moment on a quiet machine."""


def cni_directory() -> str:
    """Where this machine has the standard CNI plug-ins."""
    for directory in CNI_DIRECTORIES:
        if os.path.exists(f"{directory}/bridge"):
            return directory
    raise RuntimeError("the standard CNI plug-ins are not installed: apt-get install containernetworking-plugins")


def _free_subnet() -> ipaddress.IPv4Network:
    """One to which no bridge of this machine leads: tests may run in several lanes."""
    routes = Path("/proc/net/route").read_text()
    while True:
        subnet = ipaddress.IPv4Network(f"10.213.{secrets.randbelow(250)}.0/24")
        if f"{int.from_bytes(subnet.network_address.packed, 'little'):08X}" not in routes:
            return subnet


async def until(what: str, check: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Wait until `check` is true."""
    end = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < end, f"not within {timeout:g} s: {what}"
        await asyncio.sleep(0.02)


class Node:
    """A daemon with directories of its own below `root`, which should be on a tmpfs."""

    def __init__(self, root: Path, *, runtime: str = "crun", settings: str = "", env: Mapping[str, str] | None = None):
        self.root = root
        self.runtime = runtime
        self.settings = settings
        self.env = dict(env or {})
        self.socket = root / "crio.sock"
        self.logs = root / "logs"
        self.tag = uuid.uuid4().hex[:8]
        self.bridge = f"ct{self.tag}"
        self.subnet = _free_subnet()
        self.process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        for name in ("net.d", "conf.d", "logs", "ns", "state", "lib"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.write_cni()
        self.write_config()

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    def write_cni(self) -> None:
        conflist = {
            "cniVersion": "1.0.0",
            "name": f"test-{self.tag}",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": self.bridge,
                    "isGateway": True,
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self.root / "ipam"),
                        "ranges": [[{"subnet": str(self.subnet)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
        (self.root / "net.d" / "10-test.conflist").write_text(json.dumps(conflist))

    def write_config(self) -> None:
        root = self.root
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
[crio.runtime]
default_runtime = "{self.runtime}"
cgroup_manager = "{CGROUP_MANAGER}"
namespaces_dir = "{root}/ns"
container_exits_dir = "{root}/state/exits"
container_attach_socket_dir = "{root}/state"
{self.settings}
[crio.runtime.runtimes.crun]
runtime_root = "{root}/run-crun"
monitor_cgroup = "pod"
[crio.runtime.runtimes.runc]
runtime_root = "{root}/run-runc"
monitor_cgroup = "pod"
[crio.image]
signature_policy = "{root}/policy.json"
[crio.stats]
included_pod_metrics = ["all"]
[crio.network]
network_dir = "{root}/net.d"
plugin_dirs = ["{cni_directory()}"]
""")
        (root / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        (root / "registries.conf").write_text("")

    # The daemon

    async def start(self, *, failpoints: str = "", timeout: float = PATIENCE) -> None:
        """Start the daemon and wait until it answers; one that was killed, or kills itself, is gone before."""
        if self.process is not None:
            await asyncio.to_thread(self.process.wait, PATIENCE)
        environment = {
            "PATH": os.environ["PATH"],
            "CONTAINERS_REGISTRIES_CONF": str(self.root / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": "/dev/null",
            "CRIO_FAILPOINTS": failpoints,
            **self.env,
        }
        log = open(self.root / "crio.log", "ab")  # noqa: SIM115 - handed to the child
        try:
            self.process = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "crio"),
                    "--config",
                    str(self.root / "crio.conf"),
                    "--config-dir",
                    str(self.root / "conf.d"),
                    "--log-level",
                    "debug",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        finally:
            log.close()
        self._client = None
        end = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"the daemon ended with {self.process.returncode}:\n{self.log_tail()}")
            try:
                await self.call("Version", pb.VersionRequest(), pb.VersionResponse)
                return
            except Exception:  # noqa: BLE001 - not there yet, for whatever reason
                if time.monotonic() > end:
                    raise RuntimeError(f"the daemon does not answer:\n{self.log_tail()}") from None
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """kill -9 of the daemon, and of it alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM; the daemon's exit code."""
        await self.close_client()
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(f"the daemon does not stop:\n{self.log_tail()}")
            await asyncio.sleep(0.02)
        return self.process.returncode

    async def close_client(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def log_tail(self, lines: int = 60) -> str:
        """The last lines that the daemon has written to their end."""
        try:
            whole = (self.root / "crio.log").read_text(errors="replace").rpartition("\n")[0]
            return "\n".join(whole.splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def rss(self) -> int:
        """The daemon's resident memory in KiB."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("no VmRSS")

    def children(self, part: bytes) -> list[int]:
        """The daemon's own processes that have `part` in their command line."""
        assert self.process is not None
        found = []
        for pid in children_of(self.process.pid):
            # One may end at any moment.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if part in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    # Calls

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.endpoint)
        return self._client

    async def call(self, method: str, request: Message, response: type[Response], timeout: float = 120.0) -> Response:
        service = "ImageService" if "Image" in method else "RuntimeService"
        return await self.client.unary(f"/runtime.v1.{service}/{method}", request, response, timeout)

    async def load(self, path: str) -> str:
        """Load an image from a layout or archive; its id."""
        image_id = ""
        request = control_pb2.LoadRequest(path=path)
        async for progress in self.client.stream("/crio.v1.Control/Load", request, control_pb2.PullProgress, 120.0):
            image_id = progress.image_id or image_id
        return image_id

    def pod_config(self, name: str = "pod", **linux: object) -> pb.PodSandboxConfig:
        """A pod with a network of its own; `linux` goes into its LinuxPodSandboxConfig."""
        config = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="default"),
            log_directory=str(self.logs / name),
        )
        config.linux.security_context.namespace_options.pid = pb.CONTAINER
        config.linux.MergeFrom(pb.LinuxPodSandboxConfig(**linux))  # type: ignore[arg-type]
        return config

    def host_network(self, config: pb.PodSandboxConfig) -> pb.PodSandboxConfig:
        config.linux.security_context.namespace_options.network = pb.NODE
        return config

    async def run_pod(self, config: pb.PodSandboxConfig, handler: str = "") -> str:
        request = pb.RunPodSandboxRequest(config=config, runtime_handler=handler)
        return (await self.call("RunPodSandbox", request, pb.RunPodSandboxResponse)).pod_sandbox_id

    def container_config(
        self, command: Sequence[str], *, name: str = "ctr", image: str = "localhost/busybox:latest"
    ) -> pb.ContainerConfig:
        return pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name),
            image=pb.ImageSpec(image=image),
            command=command,
            log_path=f"{name}.log",
        )

    async def create(self, pod: str, config: pb.ContainerConfig, pod_config: pb.PodSandboxConfig) -> str:
        if not config.linux.security_context.HasField("namespace_options"):
            options = pod_config.linux.security_context.namespace_options
            config.linux.security_context.namespace_options.CopyFrom(options)
        request = pb.CreateContainerRequest(pod_sandbox_id=pod, config=config, sandbox_config=pod_config)
        return (await self.call("CreateContainer", request, pb.CreateContainerResponse)).container_id

    async def start_container(self, container: str) -> None:
        await self.call("StartContainer", pb.StartContainerRequest(container_id=container), pb.StartContainerResponse)

    async def status(self, container: str) -> pb.ContainerStatus:
        request = pb.ContainerStatusRequest(container_id=container)
        return (await self.call("ContainerStatus", request, pb.ContainerStatusResponse)).status

    async def pod_status(self, pod: str) -> pb.PodSandboxStatus:
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=pod)
        return (await self.call("PodSandboxStatus", request, pb.PodSandboxStatusResponse)).status

    async def wait_exited(self, container: str, timeout: float = PATIENCE) -> pb.ContainerStatus:
        end = time.monotonic() + timeout
        while True:
            status = await self.status(container)
            if status.state == pb.CONTAINER_EXITED:
                return status
            if time.monotonic() > end:
                raise AssertionError(f"container {container[:12]} still runs")
            await asyncio.sleep(0.02)

    async def exec(self, container: str, *command: str, timeout: int = 60) -> pb.ExecSyncResponse:
        request = pb.ExecSyncRequest(container_id=container, cmd=command, timeout=timeout)
        return await self.call("ExecSync", request, pb.ExecSyncResponse)

    async def stop_container(self, container: str, timeout: int = 0) -> None:
        request = pb.StopContainerRequest(container_id=container, timeout=timeout)
        await self.call("StopContainer", request, pb.StopContainerResponse)

    async def remove_container(self, container: str) -> None:
        request = pb.RemoveContainerRequest(container_id=container)
        await self.call("RemoveContainer", request, pb.RemoveContainerResponse)

    async def stop_pod(self, pod: str) -> None:
        await self.call("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=pod), pb.StopPodSandboxResponse)

    async def remove_pod(self, pod: str) -> None:
        request = pb.RemovePodSandboxRequest(pod_sandbox_id=pod)
        await self.call("RemovePodSandbox", request, pb.RemovePodSandboxResponse)

    async def pods(self) -> list[pb.PodSandbox]:
        return list((await self.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)).items)

    async def containers(self) -> list[pb.Container]:
        response = await self.call("ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse)
        return list(response.containers)

    async def remove_all_pods(self) -> None:
        for pod in await self.pods():
            await self.remove_pod(pod.id)

    def leases(self) -> list[str]:
        """The addresses that the IPAM plug-in has given out."""
        directory = self.root / "ipam" / f"test-{self.tag}"
        return [path.name for path in directory.glob("*.*.*.*") if path.name[0].isdigit()]

    def log_lines(self, pod: str, container: str = "ctr") -> list[str]:
        """The messages of a container's log, with their stream and tag; not one that is being written."""
        text = (self.logs / pod / f"{container}.log").read_text().rpartition("\n")[0]
        return [line.split(" ", 1)[1] for line in text.splitlines()]

    def pretend_reboot(self) -> None:
        """What a reboot leaves: the disk. Processes, mounts, namespaces and all on a tmpfs are gone."""
        self._kill_containers()
        self.unmount_all()
        for name in ("state", "run", "run-crun", "run-runc", "ns"):
            shutil.rmtree(self.root / name, ignore_errors=True)

    def _kill_containers(self) -> None:
        """Containers, with their monitors."""
        killed: list[int] = []
        for file in (self.root / "state" / "containers").glob("*/*pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(file.read_text())
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        end = time.monotonic() + PATIENCE
        while any(process_alive(pid, 0) for pid in killed):
            assert time.monotonic() < end, f"of {killed} some cannot be killed"
            time.sleep(0.02)

    def unmount_all(self) -> None:
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if target.startswith(f"{self.root}/"):
                subprocess.run(["umount", "-l", target], check=False)

    def remove_files(self) -> None:
        """The bridge, the scratch directory, and what a test that was cut off has left running."""
        left = [path.name for path in (self.root / "state").glob(f"*/{'?' * 64}")]
        if left:
            self._kill_containers()
            groups = detect()
            for path in groups.find({name for each in left for name in unit_names(each)}):
                groups.kill(path, timeout=PATIENCE)
                with contextlib.suppress(OSError):
                    groups.remove(path, timeout=PATIENCE)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)
        self.unmount_all()
        shutil.rmtree(self.root, ignore_errors=True)


@contextlib.asynccontextmanager
async def running(node: Node, layout: str = "") -> AsyncIterator[Node]:
    """Start a node, with the image of `layout`; at the end it must be able to remove all and stop."""
    try:
        await node.start()
        if layout:
            await node.load(layout)
        yield node
        if node.process is not None and node.process.poll() is None:
            await node.remove_all_pods()
            assert await node.containers() == []
            assert await node.stop() == 0
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()
        node.remove_files()
