"""Events: in order, replayed to late listeners, lost only by those who do not keep up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.container.events import KEPT, Event, Events
from crio.sandbox.record import SandboxRecord
from crio.sandbox.sandbox import Sandbox

POD = Sandbox("", SandboxRecord(id="p", name="pod", config=b"", created_at=1))


async def take(source: AsyncIterator[Event], count: int) -> list[int]:
    return [(await anext(source)).number for _ in range(count)]


async def test_order_and_replay() -> None:
    events = Events()
    events.tell(pb.CONTAINER_CREATED_EVENT, "c", POD)
    events.tell(pb.CONTAINER_STARTED_EVENT, "c", POD)
    early = events.listen()
    assert await take(early, 2) == [1, 2]
    waiting = asyncio.ensure_future(anext(early))
    await asyncio.sleep(0)
    assert not waiting.done()
    events.tell(pb.CONTAINER_STOPPED_EVENT, "c", POD)
    assert (await waiting).kind == pb.CONTAINER_STOPPED_EVENT
    late = events.listen()
    assert await take(late, 3) == [1, 2, 3]


async def test_a_slow_listener_loses_its_oldest_and_is_counted() -> None:
    lost: list[int] = []
    events = Events(lost.append)
    slow = events.listen()
    events.tell(pb.CONTAINER_CREATED_EVENT, "c", POD)
    assert await take(slow, 1) == [1]
    for _ in range(KEPT + 5):
        events.tell(pb.CONTAINER_CREATED_EVENT, "c", POD)
    assert sum(lost) == 5
    assert await take(slow, 2) == [7, 8]


async def test_a_listener_that_leaves_is_forgotten() -> None:
    events = Events()
    listener = events.listen()
    events.tell(pb.CONTAINER_CREATED_EVENT, "c", POD)
    await take(listener, 1)
    await listener.aclose()  # type: ignore[attr-defined]
    assert not events._listeners
