"""What a start takes up from the run before: records on disk against what really exists.

A record is written before anything is made and removed after everything is, so whatever exists has a record. A complete
one is taken in as it is; an incomplete one is undone. What has no record (its file was damaged, or a reboot cleared it)
carries its owner's id in its name, and goes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Sequence

import msgspec

from crio.base.errors import CrioError
from crio.base.ids import is_full_id
from crio.container import record as container_record
from crio.container.container import Container
from crio.container.create import ContainerMaker
from crio.container.manager import ContainerManager
from crio.daemon.orphans import Calls, wait_for_orphans
from crio.linux import namespaces
from crio.network.manager import Network
from crio.sandbox import record as sandbox_record
from crio.sandbox.cgroups import DEFAULT_PARENT, unit_names
from crio.sandbox.files import unmount_shm
from crio.sandbox.manager import SandboxManager
from crio.sandbox.sandbox import Sandbox
from crio.storage.deletion import delete_tree

log = logging.getLogger(__name__)

_AT_ONCE = 16


class Recovered(msgspec.Struct):
    """What a recovery found, for the log."""

    sandboxes: int = 0
    containers: int = 0
    undone: int = 0
    stopping: list[str] = msgspec.field(default_factory=list)
    """Sandboxes whose stop had begun; it is for the caller to finish it."""


class Recovery:
    """One pass at the start of the daemon, before the socket answers."""

    def __init__(
        self, sandboxes: SandboxManager, containers: ContainerManager, maker: ContainerMaker, network: Network
    ) -> None:
        self._sandboxes = sandboxes
        self._containers = containers
        self._maker = maker
        self._network = network
        self._found = Recovered()
        self._lost: set[str] = set()
        """Ids of what exists without a record; where its control groups are is not known."""
        self._limit = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> Recovered:
        """Take in what is complete and remove everything else. What can't be removed is logged and left for later."""
        await self._wait_for_orphans()
        unfinished = self._load_sandboxes()
        await self._load_containers()
        # Side by side: a plug-in that hangs costs its time limit once.
        undoing = (self._sandboxes.unfinished.remove_or_keep(sandbox) for sandbox in unfinished)
        self._found.undone += sum(await asyncio.gather(*undoing))
        await self._sweep_storage()
        await self._sweep_namespaces()
        await self._sweep_network()
        await self._sweep_cgroups()
        return self._found

    async def _wait_for_orphans(self) -> None:
        containers = {os.path.basename(directory) for directory in _records(self._maker.settings.directory)}
        pods = {os.path.basename(directory) for directory in _records(self._sandboxes.settings.directory)}
        pods |= {attachment.id for attachment in self._network.attachments()}
        if containers or pods:
            runtimes = {runtime.path for runtime in self._maker.runtimes.values()}
            await wait_for_orphans(Calls(runtimes, self._network.plugin_dirs, containers, pods))

    def _load_sandboxes(self) -> list[Sandbox]:
        unfinished = []
        for directory in _records(self._sandboxes.settings.directory):
            try:
                record = sandbox_record.load(directory)
            except (CrioError, FileNotFoundError) as error:
                log.warning("sandbox record in %s is lost, what it named is removed: %s", directory, error)
                self._lost.add(os.path.basename(directory))
                unmount_shm(os.path.join(directory, "shm"))
                delete_tree(directory)
                continue
            sandbox = Sandbox(directory, record)
            if record.complete:
                self._sandboxes.adopt(sandbox)
                self._found.sandboxes += 1
                if not record.stopped_at and (record.stopping or sandbox.is_taken_down):
                    self._found.stopping.append(record.id)
            else:
                unfinished.append(sandbox)
        return unfinished

    async def _load_containers(self) -> None:
        loads = [self._load_container(directory) for directory in _records(self._maker.settings.directory)]
        await asyncio.gather(*loads)

    async def _load_container(self, directory: str) -> None:
        async with self._limit:
            container_id = os.path.basename(directory)
            try:
                record = container_record.load(directory)
            except (CrioError, FileNotFoundError) as error:
                log.warning("container record in %s is lost, the container is removed: %s", directory, error)
                self._lost.add(container_id)
                await self._attempt(
                    f"remove container {container_id[:12]}", self._maker.remove_unrecorded, container_id
                )
                return
            container = Container(directory, record)
            if not record.complete or self._sandboxes.find(record.sandbox_id) is None:
                self._found.undone += await self._maker.unfinished.remove_or_keep(container)
                return
            self._found.containers += 1
            try:
                monitor, container.exit = await self._maker.reconnect(container)
            except CrioError as error:
                log.warning("container %s goes on, but: %s; it is asked again", container.short_id, error.message)
                self._containers.adopt_unreached(container)
            else:
                self._containers.adopt(container, monitor)
            self._containers.end_leftover_commands(container)

    async def _sweep_storage(self) -> None:
        for owned in await self._maker.stored_containers():
            if not os.path.isdir(os.path.join(self._maker.settings.directory, owned.container)):
                self._lost |= {owned.id, owned.pod}
                await self._attempt(f"remove stored container {owned.id[:12]}", self._maker.remove_unrecorded, owned.id)

    async def _sweep_namespaces(self) -> None:
        """But for network namespaces: a plug-in may need one to detach its pod."""
        for kind in ("ipcns", "utsns", "userns"):
            directory = os.path.join(self._sandboxes.settings.namespaces_dir, kind)
            for path in _records(directory):
                if self._sandboxes.find(os.path.basename(path)) is None:
                    self._lost.add(os.path.basename(path))
                    await asyncio.to_thread(namespaces.unpin, path)

    async def _sweep_network(self) -> None:
        live = {sandbox.id for sandbox in self._sandboxes}
        # Those are tried again anyway, and would cost the same time now.
        live |= {sandbox.id for sandbox in self._sandboxes.unfinished}
        lost = [each for each in self._network.attachments() if each.id not in live]
        ids = {attachment.id for attachment in lost}
        self._lost |= ids
        await asyncio.gather(
            *(self._attempt(f"detach network of pod {each.id[:12]}", self._network.delete, each) for each in lost)
        )
        self._found.undone += len(await self._network.collect_garbage(live | ids))
        directory = os.path.join(self._sandboxes.settings.namespaces_dir, "netns")
        kept = {attachment.id for attachment in self._network.attachments()}
        for path in _records(directory):
            owner = os.path.basename(path)
            if self._sandboxes.find(owner) is None and owner not in kept:
                await asyncio.to_thread(namespaces.unpin, path)

    async def _sweep_cgroups(self) -> None:
        lost = [owner for owner in self._lost if self._sandboxes.find(owner) is None]
        if lost:
            await asyncio.to_thread(self._remove_groups, lost)

    def _remove_groups(self, owners: Sequence[str]) -> None:
        groups = self._maker.cgroups
        for path in groups.find({name for owner in owners for name in unit_names(owner)}):
            try:
                groups.kill(path)
                groups.remove(path)
            except OSError as error:
                log.warning("cannot remove control group %s, it is left: %s", path, error)
        groups.remove_unused(DEFAULT_PARENT["cgroupfs"])

    async def _attempt(self, what: str, action: Callable[..., object], *arguments: object) -> None:
        try:
            outcome = action(*arguments)
            if asyncio.iscoroutine(outcome):
                await outcome
        except Exception as error:  # noqa: BLE001 - one thing that can't be removed must not keep the node down
            log.warning("cannot %s, it is left for the next start: %s", what, error)
        else:
            self._found.undone += 1


def _records(directory: str) -> Iterator[str]:
    """The entries of a directory that are named by an id."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    for name in names:
        if is_full_id(name):
            yield os.path.join(directory, name)
