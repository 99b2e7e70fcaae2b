"""Jobs: joined by retries, kept from other requests, alive without their callers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from crio.base.errors import Cancelled, DeadlineExceeded, FailedPrecondition, InvalidArgument
from crio.base.jobs import ANSWER_MARGIN, Job, JobTable


class Work:
    """A job's work that ends when the test says so."""

    def __init__(self) -> None:
        self.runs = 0
        self.release = asyncio.Event()

    async def __call__(self, job: Job) -> int:
        self.runs += 1
        with job.step("middle"):
            await self.release.wait()
        return self.runs


async def test_a_retry_joins_the_running_job() -> None:
    table, work = JobTable(), Work()
    first = asyncio.create_task(table.run("Make", "x", work, key="x", fingerprint=b"1"))
    second = asyncio.create_task(table.run("Make", "x", work, key="x", fingerprint=b"1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [(job.stage, job.waiters) for job in table.running()] == [("middle", 2)]
    work.release.set()
    await asyncio.wait([first, second])
    assert (first.result(), second.result()) == (1, 1)
    assert table.running() == []


async def test_a_different_request_for_the_same_object_is_refused_with_the_stage() -> None:
    table, work = JobTable(), Work()
    first = asyncio.create_task(table.run("Make", "x", work, key="x", fingerprint=b"1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(FailedPrecondition, match=r"different request.*stage 'middle'"):
        await table.run("Make", "x", work, key="x", fingerprint=b"2")
    work.release.set()
    assert await first == 1


async def test_a_caller_that_leaves_does_not_end_the_job() -> None:
    table, work = JobTable(), Work()
    first = asyncio.create_task(table.run("Make", "x", work, key="x"))
    await asyncio.sleep(0.01)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    retry = asyncio.create_task(table.run("Make", "x", work, key="x"))
    await asyncio.sleep(0.01)
    work.release.set()
    assert await retry == 1
    assert work.runs == 1


async def test_the_deadline_tells_the_stage_and_the_job_goes_on() -> None:
    table, work = JobTable(), Work()
    deadline = asyncio.get_running_loop().time() + ANSWER_MARGIN + 0.05
    with pytest.raises(DeadlineExceeded, match=r"stage 'middle'.*goes on"):
        await table.run("Make", "x", work, key="x", deadline=deadline)
    assert len(table.running()) == 1
    work.release.set()
    assert await table.run("Make", "x", work, key="x") == 1


async def test_an_error_reaches_every_waiter_and_is_not_kept() -> None:
    table = JobTable()
    runs = 0

    async def fail(job: Job) -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.01)
        raise InvalidArgument("cannot do it: wrong")

    results = await asyncio.gather(*(table.run("Make", "x", fail, key="x") for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["cannot do it: wrong"] * 3
    assert runs == 1
    with pytest.raises(InvalidArgument):
        await table.run("Make", "x", fail, key="x")
    assert runs == 2


async def test_stop_cancels_what_does_not_end_and_lets_it_undo() -> None:
    table = JobTable()
    undone = asyncio.Event()

    async def endless(job: Job) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            undone.set()

    waiting = asyncio.create_task(table.run("Make", "x", endless, key="x"))
    await asyncio.sleep(0.01)
    await table.stop(grace=0.01)
    assert undone.is_set()
    with pytest.raises(Cancelled, match="daemon's stop"):
        await waiting
    with pytest.raises(Cancelled):
        await table.run("Make", "y", endless, key="y")


async def test_steps_are_observed_and_nest() -> None:
    seen: list[tuple[str, str, bool]] = []
    table = JobTable()
    table.observer = lambda kind, stage, seconds, failed: seen.append((kind, stage, failed)) if seconds >= 0 else None

    async def steps(job: Job) -> list[str]:
        stages = [job.stage]
        with job.step("outer"):
            with contextlib.suppress(KeyError), job.step("inner"):
                stages.append(job.stage)
                raise KeyError("inner")
            stages.append(job.stage)
        return stages

    assert await table.run("Make", "x", steps, key="x") == ["start", "inner", "outer"]
    assert seen == [("Make", "inner", True), ("Make", "outer", False)]


async def test_stages_that_another_process_tells_follow_each_other() -> None:
    seen: list[tuple[str, bool]] = []
    table = JobTable()
    table.observer = lambda kind, stage, seconds, failed: seen.append((stage, failed))

    async def stages(job: Job) -> str:
        job.enter("fetch")
        job.enter("fetch")
        job.enter("commit")
        job.enter("end", failed=True)
        return job.stage

    assert await table.run("Pull", "x", stages, key="x") == "end"
    assert seen == [("start", False), ("fetch", False), ("commit", True)]


async def test_a_caller_who_gives_up_is_counted_with_the_stage() -> None:
    stalled: list[str] = []
    table = JobTable()
    table.on_stalled = stalled.append
    go_on = asyncio.Event()

    async def slow(job: Job) -> None:
        with job.step("network"):
            await go_on.wait()

    with pytest.raises(DeadlineExceeded, match="network"):
        await table.run("Make", "x", slow, key="x", deadline=asyncio.get_running_loop().time() + 0.3)
    go_on.set()
    assert stalled == ["network"]
