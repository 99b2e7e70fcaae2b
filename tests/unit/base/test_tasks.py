"""Background tasks end with their owner, and none dies unseen."""

from __future__ import annotations

import asyncio
import logging

import pytest

from crio.base.tasks import TaskScope


async def test_stop_cancels_and_waits() -> None:
    scope, ended = TaskScope("test"), []

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(number)

    for number in range(3):
        scope.spawn(str(number), work(number))
    await asyncio.sleep(0)
    await scope.stop()
    assert sorted(ended) == [0, 1, 2]
    assert len(scope) == 0


async def test_a_failure_is_logged_with_the_tasks_name(caplog: pytest.LogCaptureFixture) -> None:
    scope = TaskScope("owner")

    async def fail() -> None:
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR):
        scope.spawn("job", fail())
        await scope.join()
        await asyncio.sleep(0)
    assert "task owner: job failed" in caplog.text
