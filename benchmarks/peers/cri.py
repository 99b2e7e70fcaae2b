"""A CRI daemon that is measured: how it is started and ended, and the calls that figures are made of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from benchmarks import processes
from benchmarks.scratch import Scratch
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError
from crio.rpc.client import Client

Response = TypeVar("Response", bound=Message)

_SUBREAPER = Path(__file__).resolve().parents[2] / "tests" / "subreaper.py"
_SERVICE = "/runtime.v1.RuntimeService/"
_IMAGES = "/runtime.v1.ImageService/"
_STOP_TIMEOUT = 20.0
SLEEP = ("/bin/sleep", "100000")


class CriPeer(ABC):
    """One daemon in a directory of its own. It runs under a subreaper: some machines' PID 1 reaps orphans late."""

    name: str

    def __init__(self, scratch: Scratch, images: Mapping[str, str]) -> None:
        self.scratch = scratch
        self.images = images
        """Names in the registry, by what the image is for."""
        self.root = scratch.directory(self.name)
        self.logs = self.root / "logs"
        self.logs.mkdir()
        self.pid = 0
        self._reapers: list[subprocess.Popen[bytes]] = []
        """One per start of the daemon: an earlier one stays with what an earlier daemon left running."""
        self._client: Client | None = None
        self._number = 0

    @property
    @abstractmethod
    def socket(self) -> Path: ...

    @abstractmethod
    def argv(self) -> list[str]: ...

    @abstractmethod
    def environment(self) -> dict[str, str]: ...

    @abstractmethod
    def monitors(self) -> list[int]:
        """The processes that watch over containers: monitors or shims."""

    def pauses(self) -> list[int]:
        """The processes that only hold a pod's namespaces."""
        return []

    async def start(self, timeout: float = 30.0) -> float:
        """Start the daemon; the seconds until it answered Version."""
        begin = time.perf_counter()
        reaper = self._spawn()
        # The interpreter of the subreaper is not what is measured.
        while len(found := processes.descendants(reaper.pid)) < 2:
            self._check_alive()
            begin = time.perf_counter()
            await asyncio.sleep(0.001)
        self.pid = found[1]
        while True:
            self._check_alive()
            try:
                await self.call("Version", pb.VersionRequest(), pb.VersionResponse, timeout=1.0)
                return time.perf_counter() - begin
            except CrioError:
                if time.perf_counter() - begin > timeout:
                    raise RuntimeError(f"{self.name} does not answer:\n{self.log_tail()}") from None
                await asyncio.sleep(0.002)

    def _spawn(self) -> subprocess.Popen[bytes]:
        """The daemon under a new subreaper."""
        argv = [sys.executable, "-I", str(_SUBREAPER), *self.argv()]
        with open(self.root / "daemon.log", "ab") as log:
            reaper = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment())
        self._reapers.append(reaper)
        return reaper

    def _check_alive(self) -> None:
        if self._reapers[-1].poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._reapers[-1].returncode}:\n{self.log_tail()}")

    def processes(self) -> list[int]:
        """The daemon and everything that it has started, containers included."""
        return [pid for reaper in self._reapers for pid in processes.descendants(reaper.pid)[1:]]

    def log_tail(self) -> str:
        lines = (self.root / "daemon.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-30:])

    def cpu_seconds(self) -> float:
        """Used until now by the daemon and everything that it has started, containers included."""
        return sum(processes.tree_cpu_seconds(reaper.pid) for reaper in self._reapers)

    async def stop(self) -> None:
        """Remove all pods, then end the daemon and whatever it left running."""
        if not self._reapers:
            return
        with contextlib.suppress(Exception):
            await self.remove_all()
        await self.disconnect()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        for reaper in self._reapers:
            try:
                await asyncio.to_thread(reaper.wait, _STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                for pid in reversed(processes.descendants(reaper.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                reaper.wait()
        self._reapers.clear()

    def kill_daemon(self) -> None:
        """kill -9 of the daemon alone; its containers go on."""
        os.kill(self.pid, signal.SIGKILL)
        processes.wait_gone(self.pid)

    async def start_again(self) -> float:
        """Start the daemon on the state of the one that was killed; the seconds until it answered."""
        await self.disconnect()
        return await self.start()

    async def disconnect(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    # Calls

    async def call(self, method: str, request: Message, response: type[Response], timeout: float = 300.0) -> Response:
        if self._client is None:
            self._client = Client(str(self.socket))
        service = _IMAGES if "Image" in method else _SERVICE
        return await self._client.unary(service + method, request, response, timeout)

    def pod_config(self, *, host_network: bool) -> pb.PodSandboxConfig:
        """Of a pod with a name of its own."""
        self._number += 1
        name = f"pod{self._number}"
        config = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="bench"),
            log_directory=str(self.logs / name),
        )
        config.linux.cgroup_parent = self.scratch.cgroup
        options = config.linux.security_context.namespace_options
        options.pid = pb.CONTAINER
        options.network = pb.NODE if host_network else pb.POD
        return config

    def container_config(
        self, pod: pb.PodSandboxConfig, name: str = "ctr", command: Sequence[str] = SLEEP
    ) -> pb.ContainerConfig:
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name),
            image=pb.ImageSpec(image=self.images["busybox"]),
            command=command,
            log_path=f"{name}.log",
        )
        context = config.linux.security_context
        context.namespace_options.CopyFrom(pod.linux.security_context.namespace_options)
        # What the kubelet asks for by default.
        context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
        return config

    async def exec_url(self, container: str, command: Sequence[str], *, stdin: bool = False) -> str:
        """Where a command's streams can be had."""
        request = pb.ExecRequest(container_id=container, cmd=command, stdin=stdin, stdout=True, stderr=True)
        return (await self.call("Exec", request, pb.ExecResponse)).url

    async def port_forward_url(self, pod: str, port: int) -> str:
        request = pb.PortForwardRequest(pod_sandbox_id=pod, port=[port])
        return (await self.call("PortForward", request, pb.PortForwardResponse)).url

    async def pull(self, purpose: str) -> str:
        request = pb.PullImageRequest(image=pb.ImageSpec(image=self.images[purpose]))
        return (await self.call("PullImage", request, pb.PullImageResponse)).image_ref

    async def remove_image(self, purpose: str) -> None:
        request = pb.RemoveImageRequest(image=pb.ImageSpec(image=self.images[purpose]))
        await self.call("RemoveImage", request, pb.RemoveImageResponse)

    async def run_pod(self, config: pb.PodSandboxConfig, runtime: str) -> str:
        request = pb.RunPodSandboxRequest(config=config, runtime_handler=runtime)
        return (await self.call("RunPodSandbox", request, pb.RunPodSandboxResponse)).pod_sandbox_id

    async def create(self, pod: str, config: pb.ContainerConfig, pod_config: pb.PodSandboxConfig) -> str:
        request = pb.CreateContainerRequest(pod_sandbox_id=pod, config=config, sandbox_config=pod_config)
        return (await self.call("CreateContainer", request, pb.CreateContainerResponse)).container_id

    async def start_container(self, container: str) -> None:
        request = pb.StartContainerRequest(container_id=container)
        await self.call("StartContainer", request, pb.StartContainerResponse)

    async def exec(self, container: str, *command: str) -> pb.ExecSyncResponse:
        request = pb.ExecSyncRequest(container_id=container, cmd=command, timeout=60)
        return await self.call("ExecSync", request, pb.ExecSyncResponse)

    async def stop_container(self, container: str) -> None:
        request = pb.StopContainerRequest(container_id=container, timeout=0)
        await self.call("StopContainer", request, pb.StopContainerResponse)

    async def remove_container(self, container: str) -> None:
        request = pb.RemoveContainerRequest(container_id=container)
        await self.call("RemoveContainer", request, pb.RemoveContainerResponse)

    async def stop_pod(self, pod: str) -> None:
        await self.call("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=pod), pb.StopPodSandboxResponse)

    async def remove_pod(self, pod: str) -> None:
        await self.call("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=pod), pb.RemovePodSandboxResponse)

    async def pod_with_container(
        self, runtime: str, *, host_network: bool = True, command: Sequence[str] = SLEEP
    ) -> tuple[str, str]:
        """A running container in a pod of its own: their ids."""
        config = self.pod_config(host_network=host_network)
        pod = await self.run_pod(config, runtime)
        container = await self.create(pod, self.container_config(config, command=command), config)
        await self.start_container(container)
        return pod, container

    async def remove_all(self) -> None:
        pods = (await self.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)).items
        limit = asyncio.Semaphore(4)

        async def remove(pod: str) -> None:
            async with limit:
                await self.stop_pod(pod)
                await self.remove_pod(pod)

        await asyncio.gather(*(remove(pod.id) for pod in pods))
