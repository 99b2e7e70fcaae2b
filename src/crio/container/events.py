"""What happens to containers, told in order to everyone who listens (for the kubelet's evented PLEG).

Every event has a number. A listener first gets what happened in the last minutes, so that one that lost its connection
misses nothing; one that does not keep up loses its oldest events, which is counted and logged, and never holds the
others up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.sandbox.sandbox import Sandbox

log = logging.getLogger(__name__)

REPLAY = 300.0
"""Seconds for which events are kept for late listeners."""

KEPT = 1000
"""Events that are kept at most, in all and per listener."""


class Event(msgspec.Struct, frozen=True):
    """One change of one container; pod sandboxes are containers here, with the same id for both."""

    number: int
    kind: pb.ContainerEventType.ValueType
    container_id: str
    sandbox: Sandbox
    """The pod, also after it is removed."""
    at: int
    """Unix nanoseconds."""
    clock: float


class Events:
    """The daemon's events. `dropped` is told how many a slow listener did not get."""

    def __init__(self, dropped: Callable[[int], None] = lambda count: None) -> None:
        self._history: deque[Event] = deque(maxlen=KEPT)
        self._listeners: set[_Listener] = set()
        self._number = 0
        self._dropped = dropped

    def tell(self, kind: pb.ContainerEventType.ValueType, container_id: str, sandbox: Sandbox) -> None:
        """Record an event and hand it to all listeners. For a change of the pod itself, `container_id` is its id."""
        self._number += 1
        event = Event(self._number, kind, container_id, sandbox, time.time_ns(), time.monotonic())
        self._history.append(event)
        for listener in self._listeners:
            listener.put(event)

    def close(self) -> None:
        """End all listeners, after what they have not read yet."""
        for listener in self._listeners:
            listener.put(None)

    async def listen(self) -> AsyncIterator[Event]:
        """Recent events and then those to come, until the caller stops or `close` is called."""
        listener = _Listener(self._dropped)
        oldest = time.monotonic() - REPLAY
        for event in self._history:
            if event.clock >= oldest:
                listener.put(event)
        self._listeners.add(listener)
        try:
            while (event_or_end := await listener.get()) is not None:
                yield event_or_end
        finally:
            self._listeners.discard(listener)


class _Listener:
    def __init__(self, dropped: Callable[[int], None]) -> None:
        self._waiting: deque[Event | None] = deque()
        self._there = asyncio.Event()
        self._dropped = dropped

    def put(self, event: Event | None) -> None:
        if len(self._waiting) >= KEPT:
            self._waiting.popleft()
            self._dropped(1)
            log.warning("a listener to container events does not keep up; it lost an event")
        self._waiting.append(event)
        self._there.set()

    async def get(self) -> Event | None:
        while not self._waiting:
            self._there.clear()
            await self._there.wait()
        return self._waiting.popleft()
