"""Sizes of writable layers: walked in threads, and told from the last walk meanwhile."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from crio.base.executor import Executor
from crio.base.tasks import TaskScope
from crio.stats.messages import writable_layer
from crio.storage.store import Store
from crio.storage.usage import Usage

MAX_AGE = 10.0
"""Seconds after which a size is looked up anew; the kubelet's own interval."""


class Layers:
    """The sizes of containers' writable layers, as parts of ContainerStats messages."""

    def __init__(self, store: Store, executor: Executor) -> None:
        self._store = store
        self.root: str = store.options.graphroot
        """Of the file system that they are on."""
        self._executor = executor
        self._known: dict[str, tuple[float, bytes, Usage]] = {}
        self._walks = TaskScope("sizes of layers")

    async def measure(self, container_ids: Sequence[str], *, fresh: bool = False) -> None:
        """Have sizes for these: wait for those that were never looked at, begin to look at those that are old.

        With `fresh` the old ones are waited for as well.
        """
        limit = time.monotonic() - MAX_AGE
        unknown = [each for each in container_ids if each not in self._known]
        old = [each for each in container_ids if each in self._known and self._known[each][0] < limit]
        if fresh:
            unknown += old
        elif old and not self._walks:
            self._walks.spawn("walk", self._look(old))
        if unknown:
            await self._look(unknown)

    def part(self, container_id: str) -> bytes:
        """The part of the container's message, b"" if its layer is not there."""
        known = self._known.get(container_id)
        return known[1] if known is not None else b""

    def usage(self, container_id: str) -> Usage | None:
        """The same as numbers."""
        known = self._known.get(container_id)
        return known[2] if known is not None else None

    def keep_only(self, container_ids: Collection[str]) -> None:
        """Forget the others, if they are many."""
        if len(self._known) > 2 * len(container_ids) + 16:
            self._known = {key: value for key, value in self._known.items() if key in container_ids}

    async def close(self) -> None:
        await self._walks.stop()

    async def _look(self, container_ids: Sequence[str]) -> None:
        found = await self._executor.run(self._walk, container_ids)
        at, now = time.monotonic(), time.time_ns()
        self._known.update({each: (at, writable_layer(usage, self.root, now), usage) for each, usage in found.items()})

    def _walk(self, container_ids: Sequence[str]) -> dict[str, Usage]:
        found = {}
        for container_id in container_ids:
            try:
                found[container_id] = self._store.container_usage(container_id)
            except Exception:  # noqa: BLE001 - it may be removed meanwhile, and has no figures then
                continue
        return found
