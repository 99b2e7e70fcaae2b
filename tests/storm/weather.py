"""Storms: rounds of clients and kills, with a search for leaks after each."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from crio.api.runtime.v1 import api_pb2 as pb
from crio.linux.cgroup import detect
from node import CGROUP_MANAGER, Node
from storm.client import StormClient
from storm.events import Follower
from storm.faults import Faults
from storm.images import Images
from storm.leaks import Baseline, descriptors, leaks
from storm.model import Wrong

FAILPOINTS = (
    "sandbox.run.after_record",
    "sandbox.run.after_namespaces",
    "sandbox.run.after_network",
    "sandbox.run.before_complete",
    "sandbox.stop.after_network",
    "sandbox.stop.after_namespaces",
    "sandbox.remove.before_directory",
    "network.add.after_record",
    "network.add.after_plugins",
    "network.delete.after_plugins",
    "network.bridge.after_pair",
    "network.hostport.after_add",
    "storage.container_layer.made",
    "storage.layer.remove.marked",
    "storage.mounted",
    "storage.unmounted",
    "storage.overlay.create.content",
    "storage.overlay.remove.unlinked",
    "storage.index.before_rename",
    "storage.index.after_rename",
    "storage.container.made",
    "storage.container.remove.layer",
    "files.write_atomic.before_rename",
    "container.create.after_record",
    "container.create.after_storage",
    "container.create.after_runtime",
    "container.start.before_runtime",
    "container.start.after_runtime",
    "container.remove.after_storage",
)
_LEAK_PATIENCE = 25.0
"""Seconds; what could not be undone is tried again every 15."""
_MORE_FILES = 6
_ANSWERS = (0.0, 30.0)
"""To all clients, before the daemon is ended."""
_LONGEST_CALM = 10.0
"""Seconds, with fewer answers than that."""


@dataclass
class Report:
    """What a storm has seen."""

    seed: int
    rounds: int = 0
    kills: int = 0
    """By SIGKILL at any moment."""
    deaths_at_failpoints: int = 0
    stops: int = 0
    """Ends by SIGTERM."""
    cuts: int = 0
    operations: collections.Counter[str] = field(default_factory=collections.Counter)
    containers: int = 0
    events: int = 0
    wrong: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    slowest_start: float = 0.0
    memory: int = 0
    """The daemon's resident KiB after the last round."""

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.rounds} rounds, {self.operations.total()} operations ({self.cuts} cut off), "
            f"{self.containers} pods and containers, {self.events} events, "
            f"{self.kills} kills and {self.deaths_at_failpoints} deaths at failpoints and {self.stops} stops, "
            f"slowest start {self.slowest_start:.1f} s, {self.memory} KiB; "
            f"{len(self.wrong)} wrong, {len(self.leaked)} leaked"
        )


class Storm:
    """Random clients against one node, whose daemon is killed meanwhile."""

    def __init__(
        self,
        node: Node,
        seed: int,
        *,
        clients: int = 20,
        calm: tuple[float, float] = (0.1, 1.2),
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.node = node
        self.report = Report(seed)
        name = f"criostorm{secrets.token_hex(4)}"
        self.parent = f"{name}.slice" if CGROUP_MANAGER == "systemd" else f"/{name}"
        self._random = random.Random(seed)
        self._clients = clients
        self._calm = calm
        self.faults: Faults | None = None
        self.images: Images | None = None
        """That clients pull and remove."""
        self._say = say
        self._armed = False
        """The daemon has a failpoint that it may still come to."""
        self._up = asyncio.Event()
        self._up.set()

    async def rounds(self, seconds: float, each: float) -> Report:
        """Rounds of `each` seconds until `seconds` are over, or anything went wrong."""
        end = time.monotonic() + seconds
        await self._warm_up()
        self._baseline = Baseline.of(self.node)
        try:
            while time.monotonic() < end and not self.report.wrong and not self.report.leaked:
                await self._round(min(each, max(end - time.monotonic(), 1.0)))
                self._say(str(self.report))
        finally:
            groups = detect()
            group = f"/{self.parent.lstrip('/')}"
            groups.kill(group)
            groups.remove(group)
        return self.report

    async def _warm_up(self) -> None:
        """What the first pod makes for all that follow is no leak."""
        pod = await self.node.run_pod(self.node.pod_config("first"))
        await self.node.remove_pod(pod)

    async def _round(self, seconds: float) -> None:
        seed = self._random.getrandbits(32)
        clients = [
            StormClient(self.node, number, seed, self.parent, self._up, self.images) for number in range(self._clients)
        ]
        follower = Follower(self.node, self._up)
        listening = asyncio.create_task(follower.run())
        runs = [asyncio.create_task(client.run()) for client in clients]
        others = [listening]
        if self.faults is not None:
            others.append(asyncio.create_task(self.faults.run()))
            for client in clients:
                client.faulty = True
        try:
            async with self._killing(lambda: sum(client.answers for client in clients)):
                await asyncio.wait([*runs, *others], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for run in (*runs, *others):
                run.cancel()
        results = await asyncio.gather(*runs, return_exceptions=True)
        heard, *_ = await asyncio.gather(*others, return_exceptions=True)
        if isinstance(heard, Exception):
            self.report.wrong.append(f"events: {heard}")
        self.report.events += follower.heard
        if self._armed:
            # What is to be left alone from here on must not end by itself.
            self._kill()
        await self._ensure_up("")
        for client, result in zip(clients, results, strict=True):
            await self._settle(client, result)
            await client.close()
        if self.images is not None and not self.report.wrong:
            await self.node.remove_all_pods()
            await self.images.check_and_clear(self.node)
        await self._find_leaks({each for client in clients for each in client.ids})
        self.report.rounds += 1
        self.report.memory = self.node.rss()
        for client in clients:
            self.report.operations += client.operations
            self.report.cuts += client.cuts
            self.report.containers += len(client.ids)

    async def _settle(self, client: StormClient, result: object) -> None:
        """Look at everything once more, and remove it."""
        client.faulty = False
        try:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
            await client.look_at_each()
        except Wrong as error:
            history = "\n  ".join(client.history)
            self.report.wrong.append(f"client {client.number}: {error}\n  {history}")

    @contextlib.asynccontextmanager
    async def _killing(self, answers: Callable[[], int]) -> AsyncIterator[None]:
        stop = asyncio.Event()
        killer = asyncio.create_task(self._kill_until(stop, answers))
        try:
            yield
        finally:
            stop.set()
            await killer

    async def _kill_until(self, stop: asyncio.Event, answers: Callable[[], int]) -> None:
        """Ends the daemon now and then, mostly by SIGKILL at any moment, sometimes at a failpoint or by SIGTERM."""
        while not stop.is_set():
            assert self.node.process is not None
            begin = time.monotonic()
            calm = self._random.uniform(*self._calm)
            enough = answers() + self._random.uniform(*_ANSWERS)
            while self.node.process.poll() is None and not stop.is_set():
                # On a busy machine nothing would ever get further than its first call.
                over = time.monotonic() - begin
                if over > calm and (answers() >= enough or over > _LONGEST_CALM):
                    break
                await asyncio.sleep(0.02)
            if stop.is_set():
                return
            self._up.clear()
            if self.node.process.poll() is not None:
                self.report.deaths_at_failpoints += 1
            elif self._random.random() < 0.05:
                await self.node.stop()
                self.report.stops += 1
            else:
                self._kill()
            await self._ensure_up(self._random.choice(FAILPOINTS) if self._random.random() < 0.3 else "")

    def _kill(self) -> None:
        assert self.node.process is not None
        died = self.node.process.poll() is not None
        self.node.kill()
        if died:
            self.report.deaths_at_failpoints += 1
        else:
            self.report.kills += 1

    async def _ensure_up(self, failpoint: str) -> None:
        """Start the daemon if it does not run; one that dies in its recovery is started again."""
        assert self.node.process is not None
        while self.node.process.poll() is not None:
            await self.node.close_client()
            begin = time.monotonic()
            self._armed = bool(failpoint)
            try:
                await self.node.start(failpoints=f"{failpoint}=kill*1" if failpoint else "")
            except RuntimeError:
                if self.node.process.poll() != -signal.SIGKILL:
                    raise
                self.report.deaths_at_failpoints += 1
            failpoint = ""
            self.report.slowest_start = max(self.report.slowest_start, time.monotonic() - begin)
        self._up.set()

    async def clear(self) -> None:
        """Remove every pod, also after a storm that has ended early: host ports and addresses are the machine's."""
        if self.node.process is not None:
            await self._ensure_up("")
            await self.node.remove_all_pods()

    async def _find_leaks(self, ids: set[str]) -> None:
        end = time.monotonic() + _LEAK_PATIENCE
        while True:
            try:
                await self.node.remove_all_pods()
            except Exception as error:  # noqa: BLE001 - told below
                self.report.wrong.append(f"cannot remove all pods: {error}")
            left = leaks(self.node, self._baseline, ids)
            left += [f"container {item.id}" for item in await self.node.containers()]
            if (files := descriptors(self.node)) > self._baseline.files + _MORE_FILES:
                left.append(f"{files - self._baseline.files} open files")
            if not left:
                return
            if time.monotonic() > end:
                self.report.leaked += left
                return
            await asyncio.sleep(0.5)


async def images_are_whole(node: Node) -> bool:
    """Whether the one image of the node is still listed."""
    return len((await node.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)).images) == 1


def default_seed() -> int:
    return int.from_bytes(os.urandom(4), "big")
