"""The daemon under attack: calls through its socket, and what the host shows of it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError
from crio.linux.process_tree import children_of
from crio.rpc.client import Client
from cve.layers import accounts, busybox
from cve.registry import Registry

Response = TypeVar("Response", bound=Message)

LABEL = "crio-cve-suite"
_PATIENCE = 60.0


@dataclass
class Shared:
    """What all tests of one run use: one daemon, one registry, one pod of each kind."""

    endpoint: str
    registry: Registry
    directory: Path
    own: bool
    """Whether the daemon is of this project and started for this run."""
    parent: str = field(default_factory=lambda: f"/crio-cve-{secrets.token_hex(4)}")
    pods: dict[str, tuple[str, pb.PodSandboxConfig]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a container that was asked for."""

    refused: str = ""
    """Why it was not run; then the rest is empty."""
    id: str = ""
    exit_code: int = -1
    output: str = ""
    status: pb.ContainerStatus = field(default_factory=pb.ContainerStatus)


class Target:
    """Calls for one test."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.registry = shared.registry
        self.client = Client(shared.endpoint)

    # The daemon on the host

    @property
    def pid(self) -> int:
        """The daemon's process, as the kernel knows it from the socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(self.shared.endpoint.removeprefix("unix://"))
            return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def memory(self) -> int:
        """Resident bytes of the daemon and the helpers that it has started, without containers."""
        return sum(_resident(pid) for pid in [self.pid, *_descendants(self.pid)])

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    async def wait_for(self, condition: Callable[[], bool], seconds: float = _PATIENCE) -> bool:
        """Whether it became true in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.05)
        return True

    # Calls

    async def call(self, method: str, request: Message, response: type[Response], timeout: float = 120.0) -> Response:
        service = "ImageService" if "Image" in method else "RuntimeService"
        return await self.client.unary(f"/runtime.v1.{service}/{method}", request, response, timeout)

    async def alive(self) -> bool:
        """Whether the daemon answers."""
        answer = await self.call("Version", pb.VersionRequest(), pb.VersionResponse)
        return bool(answer.runtime_name)

    # Images

    async def pull(self, reference: str, **auth: str) -> str:
        request = pb.PullImageRequest(image=pb.ImageSpec(image=reference), auth=pb.AuthConfig(**auth) if auth else None)
        return (await self.call("PullImage", request, pb.PullImageResponse, 120.0)).image_ref

    async def refuses(self, reference: str, **auth: str) -> str:
        """Why the image is not pulled; "" if it was."""
        try:
            await self.pull(reference, **auth)
        except CrioError as error:
            return error.message
        return ""

    async def image(self, *layers: bytes, run: dict[str, object] | None = None) -> str:
        """An image of busybox and these layers, pulled; its reference."""
        name = f"image-{secrets.token_hex(4)}"
        reference = self.registry.publish(name, [busybox(), *layers], run)
        await self.pull(reference)
        return reference

    async def busybox(self) -> str:
        """The honest image, with accounts."""
        if "busybox" not in self.shared.images:
            self.shared.images["busybox"] = await self.image(accounts())
        return self.shared.images["busybox"]

    # Pods and containers

    def pod_config(self, *, network: bool = False) -> pb.PodSandboxConfig:
        name = f"cve-{secrets.token_hex(4)}"
        config = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="cve"),
            labels={LABEL: "yes"},
            log_directory=str(self.shared.directory / "logs" / name),
        )
        config.linux.cgroup_parent = self.shared.parent
        options = config.linux.security_context.namespace_options
        options.pid = pb.CONTAINER
        options.network = pb.POD if network else pb.NODE
        return config

    async def run_pod(self, config: pb.PodSandboxConfig) -> str:
        request = pb.RunPodSandboxRequest(config=config)
        return (await self.call("RunPodSandbox", request, pb.RunPodSandboxResponse)).pod_sandbox_id

    async def remove_pod(self, pod: str) -> None:
        await self.call("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=pod), pb.StopPodSandboxResponse)
        request = pb.RemovePodSandboxRequest(pod_sandbox_id=pod)
        await self.call("RemovePodSandbox", request, pb.RemovePodSandboxResponse)

    async def pod(self, *, network: bool = False) -> tuple[str, pb.PodSandboxConfig]:
        """A pod that all tests share, with the host's network or with one of its own."""
        kind = "network" if network else "host"
        if kind not in self.shared.pods:
            config = self.pod_config(network=network)
            self.shared.pods[kind] = (await self.run_pod(config), config)
        return self.shared.pods[kind]

    def container(self, command: Sequence[str], image: str) -> pb.ContainerConfig:
        name = f"c{secrets.token_hex(4)}"
        return pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name),
            image=pb.ImageSpec(image=image),
            command=command,
            log_path=f"{name}.log",
        )

    async def create(self, config: pb.ContainerConfig, pod: tuple[str, pb.PodSandboxConfig] | None = None) -> str:
        pod_id, pod_config = pod or await self.pod()
        if not config.linux.security_context.HasField("namespace_options"):
            options = pod_config.linux.security_context.namespace_options
            config.linux.security_context.namespace_options.CopyFrom(options)
        request = pb.CreateContainerRequest(pod_sandbox_id=pod_id, config=config, sandbox_config=pod_config)
        return (await self.call("CreateContainer", request, pb.CreateContainerResponse)).container_id

    async def start(self, container: str) -> None:
        await self.call("StartContainer", pb.StartContainerRequest(container_id=container), pb.StartContainerResponse)

    async def started(self, config: pb.ContainerConfig, pod: tuple[str, pb.PodSandboxConfig] | None = None) -> str:
        container = await self.create(config, pod)
        await self.start(container)
        return container

    async def status(self, container: str, *, verbose: bool = False) -> pb.ContainerStatusResponse:
        request = pb.ContainerStatusRequest(container_id=container, verbose=verbose)
        return await self.call("ContainerStatus", request, pb.ContainerStatusResponse)

    async def specification(self, container: str) -> dict[str, object]:
        """The OCI specification, where the daemon tells it."""
        info = (await self.status(container, verbose=True)).info.get("info", "{}")
        found = json.loads(info).get("runtimeSpec") or {}
        assert isinstance(found, dict)
        return found

    async def exec(self, container: str, *command: str, timeout: int = 60) -> pb.ExecSyncResponse:
        request = pb.ExecSyncRequest(container_id=container, cmd=command, timeout=timeout)
        return await self.call("ExecSync", request, pb.ExecSyncResponse)

    async def remove(self, container: str) -> None:
        request = pb.RemoveContainerRequest(container_id=container)
        await self.call("RemoveContainer", request, pb.RemoveContainerResponse)

    async def run(
        self,
        command: Sequence[str] | str,
        image: str = "",
        *,
        change: Callable[[pb.ContainerConfig], object] | None = None,
        pod: tuple[str, pb.PodSandboxConfig] | None = None,
    ) -> Outcome:
        """Run a command (a text is for sh) to its end, and remove the container. A refusal is an outcome, too."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        pod = pod or await self.pod()
        config = self.container(argv, image or await self.busybox())
        if change is not None:
            change(config)
        try:
            container = await self.create(config, pod)
        except CrioError as error:
            return Outcome(refused=f"create: {error.message}")
        try:
            await self.start(container)
            status = await self.wait_exited(container)
            return Outcome("", container, status.exit_code, self.log(config, pod[1]), status)
        except CrioError as error:
            return Outcome(refused=f"start: {error.message}")
        finally:
            await self.remove(container)

    async def wait_exited(self, container: str, seconds: float = _PATIENCE) -> pb.ContainerStatus:
        end = time.monotonic() + seconds
        while True:
            status = (await self.status(container)).status
            if status.state == pb.CONTAINER_EXITED:
                return status
            assert time.monotonic() < end, f"container {container[:12]} still runs"
            await asyncio.sleep(0.02)

    def log(self, config: pb.ContainerConfig, pod: pb.PodSandboxConfig) -> str:
        path = Path(pod.log_directory) / config.log_path
        if not path.exists():
            return ""
        lines = path.read_text(errors="replace").splitlines()
        return "\n".join(line.split(" ", 3)[3] for line in lines if line.count(" ") >= 3)

    def process_of(self, container: str) -> int:
        """The container's first process, found by its control group."""
        for directory in Path("/proc").iterdir():
            if directory.name.isdecimal():
                try:
                    groups = (directory / "cgroup").read_text()
                except OSError:
                    continue
                if f"{container}" in groups and "conmon" not in groups:
                    return int(directory.name)
        raise AssertionError(f"no process of container {container[:12]}")


async def clean_up(shared: Shared) -> None:
    """Remove the pods and images of this run."""
    target = Target(shared)
    wanted = pb.PodSandboxFilter(label_selector={LABEL: "yes"})
    request = pb.ListPodSandboxRequest(filter=wanted)
    for pod in (await target.call("ListPodSandbox", request, pb.ListPodSandboxResponse)).items:
        await target.remove_pod(pod.id)
    images = (await target.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)).images
    for image in images:
        if any(tag.startswith(shared.registry.host) for tag in (*image.repo_tags, *image.repo_digests)):
            remove = pb.RemoveImageRequest(image=pb.ImageSpec(image=image.id))
            await target.call("RemoveImage", remove, pb.RemoveImageResponse)
    await target.client.close()


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _descendants(pid: int) -> Iterable[int]:
    for child in children_of(pid):
        yield child
        yield from _descendants(child)
