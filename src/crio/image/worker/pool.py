"""The image workers: one in the daemon's control group, and one for each other group in which images are pulled.

crio.conf's separate_pull_cgroup has the memory, processor time and disk traffic of a pull accounted and limited apart
from the daemon's, perhaps with the pod's. A worker of a group leaves as soon as it has nothing to do, so that it keeps
no pod's group from being removed.
"""

from __future__ import annotations

from typing import Protocol

from crio.image.worker.client import OnUpdate, WorkerClient
from crio.image.worker.messages import Load, Pull, StoredImage, Verify

_IDLE_APART = 1.0
"""Seconds; the next container's image is often asked for right after."""


class PullGroups(Protocol):
    """Makes control groups for workers. `parent` is a cgroup parent as the CRI has it."""

    async def place(self, parent: str, pid: int) -> None:
        """Put a worker into a group of its own below `parent`; again is fine. Raises CrioError."""

    async def gone(self, parent: str, pid: int) -> None:
        """Remove the group of a worker that has ended."""


class WorkerPool:
    """As `WorkerClient`, for any number of groups. To be used from the event loop's thread."""

    def __init__(self, store_options: bytes) -> None:
        """`store_options`: JSON of the StoreOptions."""
        self.main = WorkerClient(store_options)
        self.groups: PullGroups | None = None
        """Without it all work is done in the daemon's group."""
        self._options = store_options
        self._apart: dict[str, WorkerClient] = {}

    async def pull(self, request: Pull, on_update: OnUpdate, parent: str = "") -> tuple[StoredImage, ...]:
        """Pull in a group below `parent`, "" for the daemon's own.

        Raises what the worker's job raised, what placing it raised, and Unavailable if the worker came to an end.
        """
        return await self._worker(parent).pull(request, on_update)

    async def load(self, request: Load, on_update: OnUpdate) -> tuple[StoredImage, ...]:
        return await self.main.load(request, on_update)

    async def verify(self, request: Verify) -> None:
        await self.main.verify(request)

    def pid(self, parent: str = "") -> int | None:
        """The process id of a group's worker while it runs."""
        worker = self._apart.get(parent) if parent else self.main
        return worker.pid if worker is not None else None

    async def stop(self) -> None:
        """Cancel all work and wait for the workers' end."""
        for worker in (*self._apart.values(), self.main):
            await worker.stop()

    def _worker(self, parent: str) -> WorkerClient:
        if not parent or self.groups is None:
            return self.main
        self._apart = {name: worker for name, worker in self._apart.items() if not worker.unused}
        worker = self._apart.get(parent)
        if worker is None:
            place = _Place(self.groups, parent)
            worker = self._apart[parent] = WorkerClient(self._options, idle=_IDLE_APART, place=place)
        return worker


class _Place:
    """Where one group's workers are."""

    def __init__(self, groups: PullGroups, parent: str) -> None:
        self._groups = groups
        self._parent = parent

    async def enter(self, pid: int) -> None:
        await self._groups.place(self._parent, pid)

    async def leave(self, pid: int) -> None:
        await self._groups.gone(self._parent, pid)
