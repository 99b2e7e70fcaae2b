from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crio.streaming.inlet import LIMIT, Inlet
from crio.streaming.outlet import ClientGone
from crio.streaming.session import Activity, Reader, run_session
from crio.streaming.stream import Bytes


class Source:
    """A stream that gives the same byte again and again."""

    left = False

    def __init__(self, size: int) -> None:
        self.size = size

    async def read_into(self, buffer: memoryview) -> int:
        size = min(self.size, len(buffer))
        self.size -= size
        return size

    async def write(self, *parts: Bytes) -> None: ...

    async def write_end(self) -> None: ...

    def peer_has_left(self) -> bool:
        return self.left

    def close(self) -> None: ...


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def failing(error: Exception) -> None:
    raise error


async def test_reader_starts_with_what_was_read_before_and_grows() -> None:
    reader = Reader(Source(1_000_000), b"first")
    assert bytes(await reader.read()) == b"first"
    sizes = []
    while data := await reader.read():
        sizes.append(len(data))
    assert sum(sizes) == 1_000_000
    assert sizes[0] == 1 << 14
    assert max(sizes) == 1 << 18


async def test_reader_that_waits_for_room_notices_that_its_client_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crio.streaming.session._LOOK_FOR_CLIENT", 0.01)
    source = Source(0)
    inlet = Inlet()
    inlet.feed(bytes(LIMIT + 1))
    waiting = asyncio.create_task(Reader(source).wait_room(inlet))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    source.left = True
    with pytest.raises(ClientGone):
        await waiting


async def test_activity_puts_idleness_off() -> None:
    loop = asyncio.get_running_loop()
    activity = Activity()
    waiting = asyncio.create_task(activity.wait_idle(0.2))
    await asyncio.sleep(0.1)
    activity.touch()
    touched = loop.time()
    await asyncio.wait_for(waiting, 60)
    assert loop.time() >= touched + 0.2


async def run(**changes: Any) -> None:
    parts: dict[str, Any] = {name: changes.pop(name, None) or forever() for name in ("read", "write", "idle", "work")}
    await asyncio.wait_for(run_session(**parts), 60)


@pytest.mark.parametrize("name", ["read", "write", "idle", "work"])
async def test_what_ends_first_ends_all(name: str) -> None:
    cancelled: list[str] = []

    async def part(other: str) -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.append(other)
            raise

    parts: dict[str, Any] = {other: part(other) for other in ("read", "write", "idle", "work") if other != name}
    started = asyncio.Event()

    async def first() -> None:
        await asyncio.sleep(0.01)
        started.set()

    await run(**parts, **{name: first()})
    assert started.is_set()
    assert {*cancelled, name} == {"read", "write", "idle", "work"}


async def test_lost_client_is_no_error_and_everything_else_is() -> None:
    await run(read=failing(ClientGone("x")))
    await run(work=failing(ClientGone("x")))
    with pytest.raises(ZeroDivisionError):
        await run(work=failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        await run(read=failing(ZeroDivisionError()))


async def test_cancelled_session_cancels_its_parts() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await forever()
        finally:
            ended.set()

    session = asyncio.create_task(run(work=work()))
    await begun.wait()
    session.cancel()
    await asyncio.gather(session, return_exceptions=True)
    assert ended.is_set()
