"""Taking a changed configuration over into the running daemon: all of it, or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from crio.base.errors import CrioError
from crio.config import Config, LoadedConfig
from crio.config.reload import Plan, plan_reload
from crio.config.unsupported import unsupported_lines

log = logging.getLogger(__name__)

Taker = Callable[[Config], None]
"""Takes its part of a configuration over, at once. If it raises CrioError or OSError, it has kept what it had."""
Preparation = Callable[[Config], Awaitable[None]]
"""Makes what the configuration will need, without changing what is in use. Raises CrioError or OSError."""


class Reloader:
    """Reads the configuration again with `read`, and hands it to all `takers` in one step of the event loop."""

    def __init__(
        self,
        read: Callable[[], LoadedConfig],
        running: Callable[[], Config],
        prepare: Sequence[Preparation],
        takers: Sequence[Taker],
    ) -> None:
        self._read = read
        self._running = running
        self._prepare = prepare
        self._takers = takers
        self._lock = asyncio.Lock()

    async def reload(self) -> Plan | None:
        """What was taken over and what waits for a restart. None: something is wrong, is logged, and nothing changed.

        One reload at a time; a signal that comes meanwhile is another one after it.
        """
        async with self._lock:
            try:
                loaded = await asyncio.to_thread(self._read)
                plan = plan_reload(self._running(), loaded.config)
                for prepare in self._prepare:
                    await prepare(plan.config)
                self._swap(plan.config)
            except (CrioError, OSError) as error:
                reason = error.message if isinstance(error, CrioError) else str(error)
                log.error("the configuration is not reloaded, the old one stays: %s", reason)
                return None
        for warning in loaded.warnings:
            log.warning("%s", warning)
        for line in unsupported_lines(loaded.config, loaded.sources.keys()):
            log.warning("%s", line)
        for line in plan.report():
            log.info("%s", line)
        return plan

    def _swap(self, config: Config) -> None:
        before = self._running()
        done: list[Taker] = []
        for take in self._takers:
            try:
                take(config)
            except (CrioError, OSError):
                for earlier in reversed(done):
                    earlier(before)
                raise
            done.append(take)
