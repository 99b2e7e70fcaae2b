"""The resize stream: only the latest size matters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from crio.base.errors import CrioError
from crio.streaming.inlet import Taken
from crio.streaming.stream import Bytes
from crio.wire.remotecommand import Size, SizeReader

log = logging.getLogger(__name__)


class SizeInlet:
    """Takes what comes on the resize stream. It never holds more than one unfinished document."""

    full = False

    def __init__(self, on_taken: Taken | None = None) -> None:
        self._on_taken = on_taken
        self._reader = SizeReader()
        self._latest: Size | None = None
        self._changed = asyncio.Event()

    def feed(self, data: Bytes) -> None:
        if self._on_taken is not None:
            self._on_taken(len(data))
        for size in self._reader.feed(bytes(data)):
            self._latest = size
            self._changed.set()

    def end(self) -> None:
        pass

    async def wait_room(self) -> None:
        pass

    async def apply(self, resize: Callable[[Size], Awaitable[None]]) -> None:
        """Call `resize` with the latest size as often as it changes, until cancelled."""
        while True:
            await self._changed.wait()
            try:
                await self.apply_latest(resize)
            except CrioError as error:
                # The next one may find its terminal.
                log.debug("%s", error.message)

    async def apply_latest(self, resize: Callable[[Size], Awaitable[None]]) -> None:
        """Call `resize` with the latest size, if one has come."""
        self._changed.clear()
        if self._latest is not None:
            await resize(self._latest)
