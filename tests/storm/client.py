"""One client of a storm: random operations on pods of its own, some cut off, each held to the model."""

from __future__ import annotations

import asyncio
import collections
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code, CrioError
from crio.rpc.client import Client
from node import Node
from storm import streams
from storm.images import Images
from storm.model import CONTAINER_PHASES, POD_PHASES, Container, Phase, Pod, Wrong, programs

Response = TypeVar("Response", bound=Message)

PODS, CONTAINERS = 2, 3
_UNKNOWN_OUTCOME = (Code.UNAVAILABLE, Code.CANCELLED, Code.DEADLINE_EXCEEDED)
_REFUSALS = (Code.FAILED_PRECONDITION, Code.NOT_FOUND, Code.ALREADY_EXISTS)


class Cut(Exception):
    """Nobody knows what became of a call: the daemon died, the deadline came, or the client left."""


class Refused(Exception):
    """The daemon said no, in a way that it may."""


class StormClient:
    """Owns the pods whose names begin with its number."""

    PATIENCE = 90.0
    """Seconds; what takes longer hangs."""

    def __init__(
        self, node: Node, number: int, seed: int, parent: str, up: asyncio.Event, images: Images | None = None
    ) -> None:
        self.node = node
        self.number = number
        self._seed = seed
        self.random = random.Random(f"{seed}/{number}")
        self.pods: list[Pod] = []
        self.ids: set[str] = set()
        self.operations: collections.Counter[str] = collections.Counter()
        self.cuts = 0
        self.answers = 0
        """Calls that were answered as they should."""
        self._connection = Client(node.endpoint)
        self._parent = parent
        self._up = up
        self._images = images
        self.faulty = False
        """Calls may fail for reasons that are not the daemon's."""
        self._names = 0
        self._programs = programs()
        self.history: collections.deque[str] = collections.deque(maxlen=30)

    async def close(self) -> None:
        await self._connection.close()

    # Calls

    async def call(
        self, method: str, request: Message, response: type[Response], *, whole: bool = False, legal: bool = False
    ) -> Response:
        """Make a call, which may be cut off at random unless it is `whole`.

        Raises Cut, Refused, or Wrong if the daemon refuses what is `legal` or fails in a way that it must not.
        """
        cut = 1.0 if whole else self.random.random()
        timeout = self.random.uniform(0.005, 0.7) if cut < 0.12 else self.PATIENCE
        patience = self.random.uniform(0.0, 0.4) if 0.12 <= cut < 0.24 else None
        note = f"{method} {_subject(request)}"
        path = f"/runtime.v1.{'ImageService' if 'Image' in method else 'RuntimeService'}/{method}"
        try:
            async with asyncio.timeout(patience):
                answer = await self._connection.unary(path, request, response, timeout)
        except TimeoutError:
            self._note(note, "left")
            raise Cut from None
        except CrioError as error:
            self._note(note, f"{error.code.name} {error.message}")
            if error.code in _UNKNOWN_OUTCOME:
                if error.code is Code.DEADLINE_EXCEEDED and timeout == self.PATIENCE:
                    raise Wrong(f"{method} takes more than {self.PATIENCE:.0f} s: {error.message}") from None
                raise Cut from None
            if self.faulty and error.code not in _REFUSALS:
                raise Cut from None
            if legal or error.code not in _REFUSALS:
                raise Wrong(f"{method} fails: {error.code.name}: {error.message}") from None
            raise Refused(error.message) from None
        self._note(note, "OK")
        self.answers += 1
        return answer

    def daemon(self) -> int:
        """The pid of the daemon that is to answer; 0 while there is none, or one that is being ended."""
        process = self.node.process
        return process.pid if process is not None and process.poll() is None and self._up.is_set() else 0

    def cut(self, note: str) -> Cut:
        """For what was not a call."""
        self._note("stream", note)
        return Cut()

    def _note(self, call: str, outcome: str) -> None:
        loop = asyncio.get_running_loop()
        self.history.append(f"{loop.time():.3f} {call}: {outcome}")

    # The loop

    async def run(self) -> None:
        """Random operations until cancelled. Raises Wrong."""
        while True:
            await self.step()
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.expovariate(20))

    async def step(self) -> None:
        """One operation."""
        await self._up.wait()
        name, operation = self._choose()
        self.operations[name] += 1
        try:
            await operation()
        except Cut:
            self.cuts += 1
            await asyncio.sleep(self.random.uniform(0, 0.1))
        except Refused:
            pass
        self.pods = [pod for pod in self.pods if pod.low < Phase.GONE]
        for pod in self.pods:
            pod.containers = [container for container in pod.containers if container.low < Phase.GONE]

    def _choose(self) -> tuple[str, Callable[[], Awaitable[None]]]:
        if not self.pods:
            return "run", self.run_pod
        if self._images is not None and self.random.random() < 0.12:
            image = self.random.choice(self._images.names)
            return "image", lambda: self.pull_or_remove(image)
        pod = self.random.choice(self.pods)
        choices: list[tuple[int, str, Callable[[], Awaitable[None]]]] = [
            (2, "look at pod", lambda: self.look_at_pod(pod)),
            (2, "list", self.look_at_all),
            (1, "stop pod", lambda: self.stop_pod(pod)),
            (2, "remove pod", lambda: self.remove_pod(pod)),
        ]
        if pod.id:
            choices.append((1, "forward", lambda: streams.forward(self, pod)))
        if len(self.pods) < PODS:
            choices.append((8, "run", self.run_pod))
        if pod.low == Phase.NONE:
            choices.append((12, "run again", lambda: self.retry_run(pod)))
        elif pod.low == Phase.RUNNING and len(pod.containers) < CONTAINERS:
            choices.append((10, "create", lambda: self.create(pod)))
            choices.append((1, "create while it is stopped", lambda: self.create_and_stop(pod)))
        if pod.containers and pod.id:
            container = self.random.choice(pod.containers)
            if container.low == Phase.NONE and pod.low == Phase.RUNNING:
                choices.append((12, "create again", lambda: self.retry_create(pod, container)))
            if container.id:
                weight = 14 if container.low <= Phase.MADE else 1
                choices += [
                    (weight, "start", lambda: self.start(pod, container)),
                    (3, "look", lambda: self.look(pod, container)),
                    (2, "exec", lambda: self.exec(container)),
                    (2, "command", lambda: streams.run_command(self, container)),
                    (1, "attach", lambda: streams.attach(self, container)),
                    (2, "update", lambda: self.update(container)),
                    (2, "stop", lambda: self.stop(container)),
                    (1, "stop twice", lambda: self.twice(lambda: self.stop(container))),
                    (2, "remove", lambda: self.remove(container)),
                    (1, "stats", lambda: self.stats(container)),
                    (1, "start and stop", lambda: self.start_and_stop(pod, container)),
                    (1, "reopen log", lambda: self.reopen_log(container)),
                ]
        _, name, operation = self.random.choices(choices, [choice[0] for choice in choices])[0]
        return name, operation

    # Pods

    def _new_name(self) -> str:
        self._names += 1
        # Logs of earlier rounds stay.
        return f"c{self.number}-{self._seed:x}-{self._names}"

    async def run_pod(self) -> None:
        config = self.node.pod_config(self._new_name(), cgroup_parent=self._parent)
        config.labels["client"] = str(self.number)
        if self.random.random() < 0.6:
            self.node.host_network(config)
        elif self.random.random() < 0.3:
            config.port_mappings.add(container_port=80, host_port=20000 + self.number * 500 + self._names % 500)
        if self.random.random() < 0.15:
            config.linux.security_context.namespace_options.pid = pb.POD
        pod = Pod(config=config)
        self.pods.append(pod)
        await self.retry_run(pod)

    async def retry_run(self, pod: Pod) -> None:
        pod.may_become(Phase.RUNNING)
        legal = pod.high == Phase.RUNNING
        request = pb.RunPodSandboxRequest(config=pod.config, runtime_handler=pod.handler)
        answer = await self.call("RunPodSandbox", request, pb.RunPodSandboxResponse, legal=legal)
        if pod.id and answer.pod_sandbox_id != pod.id:
            raise Wrong(f"pod {pod.id[:12]} is now {answer.pod_sandbox_id[:12]}")
        pod.id = answer.pod_sandbox_id
        self.ids.add(pod.id)
        pod.has_become(Phase.RUNNING)

    async def stop_pod(self, pod: Pod, *, whole: bool = False) -> None:
        if pod.id:
            pod.stop_asked()
            request = pb.StopPodSandboxRequest(pod_sandbox_id=pod.id)
            await self.call("StopPodSandbox", request, pb.StopPodSandboxResponse, whole=whole, legal=True)
            pod.stopped()

    async def remove_pod(self, pod: Pod, *, whole: bool = False) -> None:
        if pod.id:
            pod.remove_asked()
            request = pb.RemovePodSandboxRequest(pod_sandbox_id=pod.id)
            await self.call("RemovePodSandbox", request, pb.RemovePodSandboxResponse, whole=whole, legal=True)
            pod.removed()

    async def look_at_pod(self, pod: Pod) -> None:
        if not pod.id:
            return
        try:
            request = pb.PodSandboxStatusRequest(pod_sandbox_id=pod.id)
            answer = await self.call("PodSandboxStatus", request, pb.PodSandboxStatusResponse)
        except Refused:
            pod.missed()
            return
        pod.seen(POD_PHASES[answer.status.state])
        if answer.status.metadata != pod.config.metadata:
            raise Wrong(f"pod {pod.id[:12]} is told as {answer.status.metadata}")

    async def look_at_all(self) -> None:
        """The lists must be what is known, no more and no less."""
        wanted = pb.PodSandboxFilter(label_selector={"client": str(self.number)})
        request = pb.ListPodSandboxRequest(filter=wanted)
        listed = (await self.call("ListPodSandbox", request, pb.ListPodSandboxResponse)).items
        names = {item.metadata.name: item for item in listed}
        if len(names) != len(listed):
            raise Wrong(f"pods are listed twice: {[(item.id[:12], item.metadata.name) for item in listed]}")
        for pod in self.pods:
            item = names.pop(pod.config.metadata.name, None)
            if item is None:
                pod.missed()
            elif pod.id and item.id != pod.id:
                raise Wrong(f"pod {pod.id[:12]} is listed as {item.id[:12]}")
            else:
                pod.id = item.id
                self.ids.add(item.id)
                pod.seen(POD_PHASES[item.state])
        if names:
            raise Wrong(f"unknown pods are listed: {[(item.id[:12], name) for name, item in names.items()]}")
        for pod in self.pods:
            if pod.id and pod.low < Phase.GONE:
                await self._look_at_containers(pod)

    async def _look_at_containers(self, pod: Pod) -> None:
        request = pb.ListContainersRequest(filter=pb.ContainerFilter(pod_sandbox_id=pod.id))
        listed = (await self.call("ListContainers", request, pb.ListContainersResponse)).containers
        found = {(item.metadata.name, item.metadata.attempt): item for item in listed}
        if len(found) != len(listed):
            raise Wrong(f"containers of pod {pod.id[:12]} are listed twice")
        for container in pod.containers:
            item = found.pop((container.name, container.attempt), None)
            if item is None:
                container.missed()
            elif container.id and item.id != container.id:
                raise Wrong(f"container {container.id[:12]} is listed as {item.id[:12]}")
            else:
                container.id = item.id
                self.ids.add(item.id)
                container.seen(CONTAINER_PHASES[item.state])
        if found:
            raise Wrong(f"unknown containers are listed in pod {pod.id[:12]}: {list(found)}")

    # Containers

    async def create(self, pod: Pod) -> None:
        self._names += 1
        image = self.random.choice(self._images.names) if self._images and self.random.random() < 0.3 else ""
        container = Container(
            name=f"k{self._names}",
            attempt=self.random.randrange(3),
            program=self.random.choice(self._programs),
            image=image,
        )
        pod.containers.append(container)
        await self.retry_create(pod, container)

    async def retry_create(self, pod: Pod, container: Container) -> None:
        # Anybody may remove the image at any time.
        legal = pod.certainly(Phase.RUNNING) and not container.image
        container.may_become(Phase.MADE)
        config = self.node.container_config(container.program.command, name=container.name)
        if container.image:
            config.image.image = container.image
        config.metadata.attempt = container.attempt
        config.linux.security_context.namespace_options.CopyFrom(pod.config.linux.security_context.namespace_options)
        request = pb.CreateContainerRequest(pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config)
        answer = await self.call("CreateContainer", request, pb.CreateContainerResponse, legal=legal)
        if container.id and answer.container_id != container.id:
            raise Wrong(f"container {container.id[:12]} is now {answer.container_id[:12]}")
        container.id = answer.container_id
        self.ids.add(container.id)
        container.has_become(Phase.MADE)

    async def start(self, pod: Pod, container: Container) -> None:
        legal = container.certainly(Phase.MADE) and pod.certainly(Phase.RUNNING)
        contested = container.high > Phase.MADE and container.low < Phase.ENDED
        if container.low <= Phase.RUNNING:
            container.may_become(container.started())
        request = pb.StartContainerRequest(container_id=container.id)
        try:
            await self.call("StartContainer", request, pb.StartContainerResponse, legal=legal)
        except Wrong:
            if not (contested and container.stop_asked):
                raise
            container.start_contested = True
            return
        container.has_become(Phase.RUNNING)

    async def stop(self, container: Container, *, whole: bool = False) -> None:
        container.end_asked()
        container.may_become(Phase.ENDED)
        request = pb.StopContainerRequest(container_id=container.id, timeout=self.random.choice((0, 0, 1, 2)))
        await self.call("StopContainer", request, pb.StopContainerResponse, whole=whole, legal=True)
        container.has_become(Phase.ENDED)

    async def remove(self, container: Container) -> None:
        container.end_asked()
        container.may_become(Phase.GONE)
        request = pb.RemoveContainerRequest(container_id=container.id)
        await self.call("RemoveContainer", request, pb.RemoveContainerResponse, legal=True)
        container.has_become(Phase.GONE)

    async def look(self, pod: Pod, container: Container) -> None:
        try:
            request = pb.ContainerStatusRequest(container_id=container.id)
            status = (await self.call("ContainerStatus", request, pb.ContainerStatusResponse)).status
        except Refused:
            container.missed()
            return
        phase = CONTAINER_PHASES[status.state]
        container.seen(phase)
        container.check_shares(status.resources.linux.cpu_shares)
        if phase is Phase.ENDED:
            container.check_end(status)
            if status.started_at:
                container.check_log(self._log(pod, container))

    def _log(self, pod: Pod, container: Container) -> list[str]:
        path = self.node.logs / pod.config.metadata.name / f"{container.name}.log"
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line.split(" ", 3)[3] for line in lines]

    async def exec(self, container: Container) -> None:
        legal = container.certainly(Phase.RUNNING)
        request = pb.ExecSyncRequest(container_id=container.id, cmd=["echo", container.name], timeout=60)
        try:
            answer = await self.call("ExecSync", request, pb.ExecSyncResponse, legal=legal)
        except Wrong:
            if legal:
                raise
            return
        if legal and (answer.exit_code != 0 or answer.stdout != f"{container.name}\n".encode()):
            raise Wrong(
                f"echo in {container.id[:12]} ends with {answer.exit_code}: {answer.stdout!r} {answer.stderr!r}"
            )

    async def update(self, container: Container) -> None:
        shares = self.random.randrange(2, 2000)
        legal = container.certainly(Phase.RUNNING)
        container.shares.add(shares)
        request = pb.UpdateContainerResourcesRequest(container_id=container.id)
        request.linux.cpu_shares = shares
        try:
            await self.call("UpdateContainerResources", request, pb.UpdateContainerResourcesResponse, legal=legal)
        except Wrong:
            # It may end while the runtime looks for its group.
            if legal:
                raise

    async def stats(self, container: Container) -> None:
        legal = container.low >= Phase.MADE and container.high <= Phase.ENDED
        request = pb.ContainerStatsRequest(container_id=container.id)
        answer = await self.call("ContainerStats", request, pb.ContainerStatsResponse, legal=legal)
        if answer.stats.attributes.id != container.id:
            raise Wrong(f"figures of {container.id[:12]} are those of {answer.stats.attributes.id[:12]}")

    async def reopen_log(self, container: Container) -> None:
        request = pb.ReopenContainerLogRequest(container_id=container.id)
        legal = container.certainly(Phase.RUNNING)
        await self.call("ReopenContainerLog", request, pb.ReopenContainerLogResponse, legal=legal)

    # Images

    async def pull_or_remove(self, name: str) -> None:
        image = pb.ImageSpec(image=name)
        if self.random.random() < 0.65:
            await self.call("PullImage", pb.PullImageRequest(image=image), pb.PullImageResponse, legal=True)
        else:
            # Refused while any container is made of it.
            await self.call("RemoveImage", pb.RemoveImageRequest(image=image), pb.RemoveImageResponse)

    # At the same time

    async def twice(self, operation: Callable[[], Awaitable[None]]) -> None:
        await self._together(operation(), operation())

    async def start_and_stop(self, pod: Pod, container: Container) -> None:
        container.start_contested = True
        container.end_asked()
        container.may_become(Phase.ENDED)
        await self._together(self.start(pod, container), self.stop(container))

    async def create_and_stop(self, pod: Pod) -> None:
        pod.stop_asked()
        await self._together(self.create(pod), self.stop_pod(pod))

    async def _together(self, *operations: Awaitable[None]) -> None:
        results = await asyncio.gather(*operations, return_exceptions=True)
        for kind in (Wrong, Cut, Refused, BaseException):
            for result in results:
                if isinstance(result, kind):
                    raise result

    # At the end

    async def look_at_each(self) -> None:
        """With a daemon that is left alone: everything is as it must be."""
        await self._insist(self.look_at_all)
        for pod in self.pods:
            for container in pod.containers:
                if container.id:
                    await self._insist(lambda pod=pod, container=container: self.look(pod, container))  # type: ignore[misc]

    async def _insist(self, operation: Callable[[], Awaitable[None]]) -> None:
        """Until it is not cut off."""
        for _ in range(100):
            try:
                return await operation()
            except Cut:
                continue
        raise Wrong("a daemon that is left alone does not answer")


def _subject(request: Message) -> str:
    """Whom a call is about, for people."""
    for name in ("container_id", "pod_sandbox_id"):
        if value := getattr(request, name, ""):
            return str(value)[:12]
    config = getattr(request, "config", None)
    return config.metadata.name if config is not None else ""
