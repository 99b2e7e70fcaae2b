from __future__ import annotations

import asyncio

from crio.base.errors import Unavailable
from crio.streaming.sizes import SizeInlet
from crio.wire.remotecommand import Size, encode_size


async def test_only_the_latest_size_is_applied() -> None:
    taken: list[int] = []
    inlet = SizeInlet(taken.append)
    for number in range(1, 100):
        inlet.feed(memoryview(encode_size(Size(number, number))))
    applied: list[Size] = []

    async def resize(size: Size) -> None:
        applied.append(size)

    applying = asyncio.create_task(inlet.apply(resize))
    await asyncio.sleep(0)
    assert applied == [Size(99, 99)]
    inlet.feed(encode_size(Size(5, 6)))
    inlet.end()
    await asyncio.sleep(0.01)
    assert applied[-1] == Size(5, 6)
    assert not inlet.full
    assert sum(taken) > 99 * 10
    applying.cancel()


async def test_size_that_cannot_be_applied_leaves_the_next() -> None:
    inlet = SizeInlet()
    tried: asyncio.Queue[Size] = asyncio.Queue()

    async def resize(size: Size) -> None:
        tried.put_nowait(size)
        if size.height == 1:
            raise Unavailable("cannot ask the monitor to resize: no answer within 10 s")

    applying = asyncio.create_task(inlet.apply(resize))
    for number in (1, 2):
        inlet.feed(encode_size(Size(number, 80)))
        assert await asyncio.wait_for(tried.get(), 60) == Size(number, 80)
    applying.cancel()


async def test_size_that_came_early_can_be_applied_at_once() -> None:
    inlet = SizeInlet()
    applied: list[Size] = []

    async def resize(size: Size) -> None:
        applied.append(size)

    await inlet.apply_latest(resize)
    assert applied == []
    inlet.feed(encode_size(Size(7, 8)))
    await inlet.apply_latest(resize)
    assert applied == [Size(7, 8)]
