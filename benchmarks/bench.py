"""What all figures share: the scratch directory, the registry, the contestants, the rounds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from benchmarks import payload
from benchmarks.peers.containerd import Containerd
from benchmarks.peers.project import Project
from benchmarks.results import Figure, Results
from benchmarks.scratch import Scratch
from registry_server import RunningRegistry

RUNTIMES = ("crun", "runc")


class Bench:
    """One run. `say` tells what is being done."""

    def __init__(
        self,
        scratch: Scratch,
        registry: RunningRegistry,
        say: Callable[[str], None],
        *,
        quick: bool,
        pods: int | None = None,
    ) -> None:
        self.scratch = scratch
        self.quick = quick
        self.pods = pods or (20 if quick else 200)
        """Of a full node, each with two containers."""
        self.say = say
        self.results = Results()
        self.registry = registry
        self.images = payload.push_small(registry, scratch.directory("images"))

    def rounds(self, full: int, quick: int) -> range:
        return range(quick if self.quick else full)

    def image(self, name: str) -> payload.Shape:
        """Have the image of this name, one of `payload.SHAPES`, in the registry; its shape in this run."""
        shape = payload.SHAPES[name].scaled(0.1 if self.quick else 1.0)
        if name not in self.images:
            self.say(f"making an image: {shape.title}")
            self.images[name] = payload.push_shape(self.registry, self.scratch.directory(f"{name}-image"), name, shape)
        return shape

    @contextlib.asynccontextmanager
    async def daemons(self) -> AsyncIterator[tuple[Project, Containerd]]:
        """This project's daemon and containerd, both fresh, with the small images; they end with the block."""
        project, containerd = Project(self.scratch, self.images), Containerd(self.scratch, self.images)
        async with contextlib.AsyncExitStack() as stack:
            for peer in (project, containerd):
                stack.push_async_callback(peer.stop)
                await peer.start()
                await peer.pull("busybox")
            await containerd.pull("pause")
            yield project, containerd

    async def container_config(self, project: Project, runtime: str) -> Path:
        """The config.json that the project writes for a container with the host's network, as a copy."""
        pod, container = await project.pod_with_container(runtime)
        copy = self.scratch.directory("config") / "config.json"
        copy.write_bytes((project.bundle(container) / "config.json").read_bytes())
        await project.stop_pod(pod)
        await project.remove_pod(pod)
        return copy


async def timed(figure: Figure, contestant: str, work: Awaitable[object]) -> float:
    """Await `work` and add its milliseconds; they are returned."""
    begin = time.perf_counter()
    await work
    milliseconds = 1e3 * (time.perf_counter() - begin)
    figure.add(contestant, milliseconds)
    return milliseconds


@contextlib.contextmanager
def timing(figure: Figure, contestant: str) -> Iterator[None]:
    """Add the milliseconds of the block."""
    begin = time.perf_counter()
    yield
    figure.add(contestant, 1e3 * (time.perf_counter() - begin))
