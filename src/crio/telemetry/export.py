"""Sends finished spans to a collector in batches, and never lets a slow or absent collector hold the daemon up."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Awaitable, Callable, Mapping

from crio.base.errors import CrioError
from crio.telemetry.otlp import encode_request
from crio.telemetry.trace import Span

log = logging.getLogger(__name__)

BATCH = 512
WAITING = 4096
INTERVAL = 5.0
SCOPE = "crio"

Send = Callable[[bytes], Awaitable[None]]
"""Delivers one ExportTraceServiceRequest; raises CrioError, OSError or TimeoutError if it cannot."""


class Exporter:
    """`add` is what a Tracer's `export` is set to; `run` sends until it is cancelled, then call `flush`.

    Above 4096 waiting spans the oldest are dropped, as are those of a batch that cannot be delivered; `dropped` counts.
    """

    def __init__(self, send: Send, *, version: str, resource: Mapping[str, str], interval: float = INTERVAL) -> None:
        self.dropped = 0
        self._send = send
        self._version = version
        self._resource = {"service.name": "crio", "service.version": version, **resource}
        self._interval = interval
        self._waiting: collections.deque[Span] = collections.deque()
        self._enough = asyncio.Event()
        self._failing = False

    def add(self, span: Span) -> None:
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self._enough.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._enough.wait()
            except TimeoutError:
                pass
            self._enough.clear()
            await self.flush()

    async def flush(self) -> None:
        """Send what is waiting now."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                await self._send(encode_request(batch, self._resource, SCOPE, self._version))
            except (CrioError, OSError, TimeoutError) as error:
                self.dropped += len(batch)
                if not self._failing:
                    log.warning(
                        "cannot send traces to the collector: %s; they are dropped until it can be reached", error
                    )
                self._failing = True
                return
            if self._failing:
                log.info("traces are sent to the collector again; %d spans were dropped", self.dropped)
            self._failing = False
