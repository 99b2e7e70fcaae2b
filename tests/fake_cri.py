"""A runtime that only remembers: the CRI on a unix socket, for tests of its clients.

It runs in a thread of its own, so that a client may be called as a program is. `calls` holds what was asked.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message

from crio.api.crio.v1 import control_pb2
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, NotFound
from crio.rpc.server import Server
from crio.rpc.service import Context, Handler, service_table

SECOND = 1_000_000_000
DAY = 86400 * SECOND


class FakeCri:
    """Pods, containers and images in dictionaries by id. Tests put in what they need and read `calls`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.endpoint = f"unix://{path}"
        self.calls: list[tuple[str, Any]] = []
        self.pods: dict[str, pb.PodSandboxStatus] = {}
        self.containers: dict[str, tuple[str, pb.ContainerStatus]] = {}
        """By id: the pod's id and the status."""
        self.images: dict[str, pb.Image] = {}
        self.answers: dict[str, Any] = {}
        """Responses (or errors to raise, or lists of responses for streams) by method, before the usual ones."""
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    # -- putting things in

    def add_pod(self, identifier: str, name: str, **more: Any) -> pb.PodSandboxStatus:
        metadata = pb.PodSandboxMetadata(
            name=name,
            namespace=more.pop("namespace", "default"),
            uid=f"uid-{name}",
            attempt=more.pop("attempt", 0),
        )
        more.setdefault("created_at", time.time_ns() - 3 * DAY)
        self.pods[identifier] = pb.PodSandboxStatus(id=identifier, metadata=metadata, **more)
        return self.pods[identifier]

    def add_container(self, identifier: str, pod: str, name: str, **more: Any) -> pb.ContainerStatus:
        metadata = pb.ContainerMetadata(name=name, attempt=more.pop("attempt", 0))
        image = pb.ImageSpec(image=more.pop("image", "quay.io/app/web:1"))
        more.setdefault("state", pb.CONTAINER_RUNNING)
        more.setdefault("created_at", time.time_ns() - 3600 * SECOND)
        status = pb.ContainerStatus(id=identifier, metadata=metadata, image=image, **more)
        self.containers[identifier] = (pod, status)
        return status

    def requests(self, method: str) -> list[Any]:
        """What was asked of one method."""
        return [request for name, request in self.calls if name == method]

    # -- serving

    def start(self) -> None:
        self._thread.start()
        self._started.wait(60)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    def _run(self) -> None:
        server = Server(self._methods())
        self._loop.run_until_complete(server.listen(self.path))
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(server.stop(0))
        self._loop.close()

    def _methods(self) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for descriptor in (
            *pb.DESCRIPTOR.services_by_name.values(),
            *control_pb2.DESCRIPTOR.services_by_name.values(),
        ):
            implementations: dict[str, Handler] = {
                method.name: self._stream(method.name) if method.server_streaming else self._unary(method.name)
                for method in descriptor.methods
                if hasattr(self, f"on_{method.name}") or method.name in self.answers
            }
            table |= service_table(descriptor, implementations)
        return table

    def _unary(self, name: str) -> Handler:
        async def handle(request: Any, context: Context) -> Message:
            self.calls.append((name, request))
            answer = self.answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                found: Message = answer.pop(0) if isinstance(answer, list) else answer
                return found
            made: Message = getattr(self, f"on_{name}")(request)
            return made

        return handle

    def _stream(self, name: str) -> Handler:
        async def handle(request: Any, context: Context) -> AsyncIterator[Message]:
            self.calls.append((name, request))
            for answer in self.answers[name]:
                if isinstance(answer, Exception):
                    raise answer
                yield answer

        return handle

    # -- the usual answers

    def on_Version(self, request: pb.VersionRequest) -> pb.VersionResponse:  # noqa: N802 - the RPC's name
        return pb.VersionResponse(
            version="0.1.0", runtime_name="cri-o", runtime_version="1.36.0", runtime_api_version="v1"
        )

    def on_ListPodSandbox(self, request: pb.ListPodSandboxRequest) -> pb.ListPodSandboxResponse:  # noqa: N802
        wanted = request.filter
        return pb.ListPodSandboxResponse(
            items=[
                pb.PodSandbox(
                    id=pod.id,
                    metadata=pod.metadata,
                    state=pod.state,
                    created_at=pod.created_at,
                    labels=dict(pod.labels),
                    annotations=dict(pod.annotations),
                    runtime_handler=pod.runtime_handler,
                )
                for pod in self.pods.values()
                if pod.id.startswith(wanted.id)
                and (not wanted.HasField("state") or wanted.state.state == pod.state)
                and all(pod.labels.get(key) == value for key, value in wanted.label_selector.items())
            ]
        )

    def on_PodSandboxStatus(self, request: pb.PodSandboxStatusRequest) -> pb.PodSandboxStatusResponse:  # noqa: N802
        pod = self.pods.get(request.pod_sandbox_id)
        if pod is None:
            raise NotFound(f"cannot find pod {request.pod_sandbox_id}")
        return pb.PodSandboxStatusResponse(status=pod, info={"info": '{"pid": 7}'} if request.verbose else {})

    def on_RunPodSandbox(self, request: pb.RunPodSandboxRequest) -> pb.RunPodSandboxResponse:  # noqa: N802
        identifier = f"{len(self.pods) + 0xA0:02x}" * 32
        self.add_pod(identifier, request.config.metadata.name, namespace=request.config.metadata.namespace)
        return pb.RunPodSandboxResponse(pod_sandbox_id=identifier)

    def on_StopPodSandbox(self, request: pb.StopPodSandboxRequest) -> pb.StopPodSandboxResponse:  # noqa: N802
        self.pods[request.pod_sandbox_id].state = pb.SANDBOX_NOTREADY
        return pb.StopPodSandboxResponse()

    def on_RemovePodSandbox(self, request: pb.RemovePodSandboxRequest) -> pb.RemovePodSandboxResponse:  # noqa: N802
        self.pods.pop(request.pod_sandbox_id, None)
        return pb.RemovePodSandboxResponse()

    def on_ListContainers(self, request: pb.ListContainersRequest) -> pb.ListContainersResponse:  # noqa: N802
        wanted = request.filter
        return pb.ListContainersResponse(
            containers=[
                pb.Container(
                    id=status.id,
                    pod_sandbox_id=pod,
                    metadata=status.metadata,
                    image=status.image,
                    image_ref=status.image_ref,
                    image_id=status.image_id,
                    state=status.state,
                    created_at=status.created_at,
                    labels=dict(status.labels),
                    annotations=dict(status.annotations),
                )
                for pod, status in self.containers.values()
                if status.id.startswith(wanted.id)
                and pod.startswith(wanted.pod_sandbox_id)
                and (not wanted.HasField("state") or wanted.state.state == status.state)
                and all(status.labels.get(key) == value for key, value in wanted.label_selector.items())
            ]
        )

    def on_ContainerStatus(self, request: pb.ContainerStatusRequest) -> pb.ContainerStatusResponse:  # noqa: N802
        if request.container_id not in self.containers:
            raise NotFound(f"cannot find container {request.container_id}")
        status = self.containers[request.container_id][1]
        return pb.ContainerStatusResponse(
            status=status, info={"info": '{"pid": 42, "runtimeSpec": {"a": [1]}}'} if request.verbose else {}
        )

    def on_CreateContainer(self, request: pb.CreateContainerRequest) -> pb.CreateContainerResponse:  # noqa: N802
        identifier = f"{len(self.containers) + 0xC0:02x}" * 32
        self.add_container(identifier, request.pod_sandbox_id, request.config.metadata.name, state=pb.CONTAINER_CREATED)
        return pb.CreateContainerResponse(container_id=identifier)

    def on_StartContainer(self, request: pb.StartContainerRequest) -> pb.StartContainerResponse:  # noqa: N802
        status = self.containers[request.container_id][1]
        if status.state != pb.CONTAINER_CREATED:
            raise FailedPrecondition(f"cannot start container {status.metadata.name}: it is not in the state created")
        status.state = pb.CONTAINER_RUNNING
        return pb.StartContainerResponse()

    def on_StopContainer(self, request: pb.StopContainerRequest) -> pb.StopContainerResponse:  # noqa: N802
        self.containers[request.container_id][1].state = pb.CONTAINER_EXITED
        return pb.StopContainerResponse()

    def on_RemoveContainer(self, request: pb.RemoveContainerRequest) -> pb.RemoveContainerResponse:  # noqa: N802
        self.containers.pop(request.container_id, None)
        return pb.RemoveContainerResponse()

    def on_ListImages(self, request: pb.ListImagesRequest) -> pb.ListImagesResponse:  # noqa: N802
        name = request.filter.image.image
        return pb.ListImagesResponse(images=[each for each in self.images.values() if not name or self._is(each, name)])

    def on_ImageStatus(self, request: pb.ImageStatusRequest) -> pb.ImageStatusResponse:  # noqa: N802
        found = [each for each in self.images.values() if self._is(each, request.image.image)]
        info = {"info": '{"labels": {"a": "b"}}'} if found and request.verbose else {}
        return pb.ImageStatusResponse(image=found[0] if found else None, info=info)

    def on_RemoveImage(self, request: pb.RemoveImageRequest) -> pb.RemoveImageResponse:  # noqa: N802
        self.images = {key: each for key, each in self.images.items() if not self._is(each, request.image.image)}
        return pb.RemoveImageResponse()

    @staticmethod
    def _is(image: pb.Image, name: str) -> bool:
        return image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:")) or name in (
            *image.repo_tags,
            *image.repo_digests,
        )
