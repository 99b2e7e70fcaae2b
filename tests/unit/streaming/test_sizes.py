from __future__ import annotations

import asyncio

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
