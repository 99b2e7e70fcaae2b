"""Sizes of writable layers: walked in threads, and told from the last walk meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence

from crio.base.executor import Executor
from crio.base.tasks import TaskScope
from crio.stats.messages import writable_layer
from crio.storage.store import Store
from crio.storage.usage import Usage

MAX_AGE = 10.0
"""Seconds after which a size is looked up anew; the kubelet's own interval."""
_PATIENCE = 0.2
"""Seconds for which a list waits for sizes that were never looked at. All of them are such after a start."""


class Layers:
    """The sizes of containers' writable layers, as parts of ContainerStats messages."""

    def __init__(self, store: Store, executor: Executor) -> None:
        self._store = store
        self.root: str = store.options.graphroot
        """Of the file system that they are on."""
        self._executor = executor
        self._known: dict[str, tuple[float, bytes, Usage | None]] = {}
        """When it was looked at, and what was found; nothing for a layer that is not there."""
        self._looking: set[str] = set()
        """Those that are being looked at for a list."""
        self._walks = TaskScope("sizes of layers")

    async def measure(self, container_ids: Sequence[str], *, fresh: bool = False) -> None:
        """Have sizes for these: wait a moment for those that were never looked at, begin to look at those that are old.

        With `fresh` all that are not young are waited for.
        """
        known, limit = self._known, time.monotonic() - MAX_AGE
        due = [each for each in container_ids if each not in known or known[each][0] < limit]
        if fresh:
            if due:
                await self._look(due)
            return
        due = [each for each in due if each not in self._looking]
        if old := [each for each in due if each in known]:
            self._begin("old", old)
        if new := [each for each in due if each not in known]:
            await asyncio.wait([self._begin("new", new)], timeout=_PATIENCE)

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

    def _begin(self, what: str, container_ids: Sequence[str]) -> asyncio.Task[None]:
        self._looking.update(container_ids)
        return self._walks.spawn(what, self._look(container_ids))

    async def _look(self, container_ids: Sequence[str]) -> None:
        try:
            self._known |= await self._executor.run(self._walk, container_ids)
        finally:
            self._looking.difference_update(container_ids)

    def _walk(self, container_ids: Sequence[str]) -> dict[str, tuple[float, bytes, Usage | None]]:
        found: dict[str, tuple[float, bytes, Usage | None]] = {}
        for container_id in container_ids:
            at, now = time.monotonic(), time.time_ns()
            try:
                usage = self._store.container_usage(container_id)
                found[container_id] = at, writable_layer(usage, self.root, now), usage
            except Exception:  # noqa: BLE001 - it may be removed meanwhile, and has no figures then
                found[container_id] = at, b"", None
        return found
