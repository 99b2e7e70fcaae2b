"""Jobs: long operations that belong to the daemon and not to the call that asked for them.

A job is known by what it makes or ends (`key`) and by a fingerprint of the request. The same request made again while
the job runs joins it and gets its result; a different one for the same key is refused with the stage the job is in. A
caller who gives up (deadline, lost connection) leaves the job running: its retry joins it or finds the finished object.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec

from crio.base.errors import Cancelled, DeadlineExceeded, FailedPrecondition
from crio.base.tasks import TaskScope

T = TypeVar("T")

ANSWER_MARGIN = 0.25
"""Seconds before the caller's deadline at which it is told the stage, while it still listens."""

StageObserver = Callable[[str, str, float, bool], None]
"""Is called with the job's kind, the stage's name, the seconds it took, and whether it failed."""


class Job(msgspec.Struct):
    """One running operation, as `crioctl jobs` shows it."""

    kind: str
    subject: str
    key: str
    fingerprint: bytes
    observer: StageObserver | None = None
    stage: str = "start"
    started_at: int = msgspec.field(default_factory=time.time_ns)
    stage_started_at: int = msgspec.field(default_factory=time.time_ns)
    waiters: int = 0

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Names the stage for as long as the block runs; blocks may nest or overlap."""
        outer, outer_start = self.stage, self.stage_started_at
        self.stage, self.stage_started_at = name, time.time_ns()
        begin = time.perf_counter()
        failed = True
        try:
            yield
            failed = False
        finally:
            if self.observer is not None:
                self.observer(self.kind, name, time.perf_counter() - begin, failed)
            if self.stage == name:
                self.stage, self.stage_started_at = outer, outer_start

    def enter(self, name: str, *, failed: bool = False) -> None:
        """The stage ends and another begins; for stages that follow each other, told by another process."""
        if name == self.stage:
            return
        now = time.time_ns()
        if self.observer is not None:
            self.observer(self.kind, self.stage, (now - self.stage_started_at) / 1e9, failed)
        self.stage, self.stage_started_at = name, now

    @property
    def age(self) -> float:
        """Seconds since the job began."""
        return (time.time_ns() - self.started_at) / 1e9

    def describe(self) -> str:
        return f"{self.kind} of {self.subject} in stage {self.stage!r} for {self.age:.0f} s"


class JobTable:
    """All jobs of the daemon that are under way."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[Job, asyncio.Task[Any]]] = {}
        self._scope = TaskScope("jobs")
        self._closing = False
        self.observer: StageObserver | None = None
        self.on_stalled: Callable[[str], None] | None = None
        """Is called with the stage of a job for which a caller no longer waits."""

    def running(self) -> list[Job]:
        """The jobs under way, oldest first."""
        return sorted((job for job, _ in self._jobs.values()), key=lambda job: job.started_at)

    def find(self, key: str) -> Job | None:
        entry = self._jobs.get(key)
        return entry[0] if entry else None

    async def run(
        self,
        kind: str,
        subject: str,
        work: Callable[[Job], Awaitable[T]],
        *,
        key: str,
        fingerprint: bytes = b"",
        deadline: float | None = None,
    ) -> T:
        """Start the job or join the running one with this key, and wait for its result.

        `deadline` is in the loop's time; shortly before it DeadlineExceeded tells the stage, and the job goes on.
        Raises FailedPrecondition if a job with this key runs for a different request, and what the job raises.
        """
        if self._closing:
            raise Cancelled(f"cannot {kind} {subject}: the daemon is stopping")
        entry = self._jobs.get(key)
        if entry is None:
            job = Job(kind, subject, key, fingerprint, self.observer)
            task = self._scope.spawn(f"{kind} {subject}", self._supervise(job, work))
            self._jobs[key] = (job, task)
        else:
            job, task = entry
            if job.fingerprint != fingerprint:
                raise FailedPrecondition(
                    f"cannot {kind} {subject}: a different request for it is under way ({job.describe()})"
                )
        return await self._wait(job, task, deadline)

    async def _supervise(self, job: Job, work: Callable[[Job], Awaitable[T]]) -> tuple[T | None, BaseException | None]:
        """The job's task never raises: its outcome is for whoever waits, and nobody may be left."""
        try:
            return await work(job), None
        except asyncio.CancelledError:
            return None, Cancelled(
                f"cannot {job.kind} {job.subject}: ended in stage {job.stage!r} by the daemon's stop"
            )
        except Exception as error:  # noqa: BLE001 - handed to every waiter, who raises it
            return None, error
        finally:
            self._jobs.pop(job.key, None)

    async def _wait(self, job: Job, task: asyncio.Task[tuple[T, BaseException | None]], deadline: float | None) -> T:
        job.waiters += 1
        try:
            when = None if deadline is None else max(deadline - ANSWER_MARGIN, 0)
            async with asyncio.timeout_at(when):
                result, error = await asyncio.shield(task)
        except TimeoutError:
            if self.on_stalled is not None:
                self.on_stalled(job.stage)
            raise DeadlineExceeded(
                f"cannot {job.kind} {job.subject} within the call's deadline: it is in stage {job.stage!r} since "
                f"{(time.time_ns() - job.stage_started_at) / 1e9:.1f} s and goes on; the same call again joins it"
            ) from None
        finally:
            job.waiters -= 1
        if error is not None:
            raise error
        return result

    async def stop(self, grace: float) -> None:
        """Refuse new jobs, give running ones `grace` seconds to finish, then cancel them: they undo what they did."""
        self._closing = True
        tasks = [task for _, task in self._jobs.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        await self._scope.stop()
