"""The thread pool: results, errors, its bound, and callers that leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from crio.base.executor import Executor


@pytest.fixture
def executor() -> Iterator[Executor]:
    executor = Executor("test", 2)
    yield executor
    executor.close()


async def test_results_and_names(executor: Executor) -> None:
    def work(number: int, *, plus: int) -> tuple[int, str]:
        return number + plus, threading.current_thread().name

    result, name = await executor.run(work, 1, plus=2)
    assert result == 3
    assert name.startswith("test")
    assert name != threading.current_thread().name


async def test_errors_come_to_the_caller(executor: Executor) -> None:
    def fail() -> None:
        raise FileNotFoundError("x")

    with pytest.raises(FileNotFoundError, match="x"):
        await executor.run(fail)


async def test_no_more_threads_than_said(executor: Executor) -> None:
    lock, running, most = threading.Lock(), 0, 0
    both = threading.Barrier(2, timeout=30)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait()
        with lock:
            running -= 1

    await asyncio.gather(*(executor.run(work) for _ in range(8)))
    assert most == 2


async def test_a_cancelled_caller_leaves_the_work_alone(executor: Executor) -> None:
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(30)
        done.set()

    call = asyncio.create_task(executor.run(work))
    await asyncio.to_thread(begun.wait, 30)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not done.is_set()
    go.set()
    assert await asyncio.to_thread(done.wait, 30)


async def test_close_waits_for_what_runs() -> None:
    executor = Executor("closing", 1)
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(30)
        done.set()

    call = asyncio.create_task(executor.run(work))
    waiting = asyncio.create_task(executor.run(work))
    await asyncio.to_thread(begun.wait, 30)
    closing = asyncio.create_task(asyncio.to_thread(executor.close))
    await asyncio.sleep(0)
    go.set()
    await closing
    await call
    assert done.is_set()
    with pytest.raises(RuntimeError):
        await executor.run(work)
    await asyncio.gather(waiting, return_exceptions=True)
