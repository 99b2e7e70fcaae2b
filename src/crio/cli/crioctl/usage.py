"""Resource use between two moments, for stats, statsp and top."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl.session import Session

WATCH_SECONDS = 0.5
CLEAR = "\x1b[H\x1b[2J"


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU time used up to a moment, both in nanoseconds."""

    moment: int
    used: int


def cpu_sample(cpu: pb.CpuUsage) -> Sample:
    return Sample(cpu.timestamp, cpu.usage_core_nano_seconds.value)


def cpu_percent(before: Sample | None, after: Sample) -> float | None:
    """Per cent of one core between the samples; None if there is nothing to compare or the sample is the same."""
    if before is None or after.moment <= before.moment:
        return None
    return max(after.used - before.used, 0) / (after.moment - before.moment) * 100


def percent_text(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.2f}"


async def container_stats(session: Session, wanted: pb.ContainerStatsFilter) -> list[pb.ContainerStats]:
    """Sorted by id."""
    request = pb.ListContainerStatsRequest(filter=wanted)
    response = await session.runtime.call("ListContainerStats", request, pb.ListContainerStatsResponse)
    return sorted(response.stats, key=lambda each: each.attributes.id)


async def pod_stats(session: Session, wanted: pb.PodSandboxStatsFilter) -> list[pb.PodSandboxStats]:
    """Sorted by id."""
    request = pb.ListPodSandboxStatsRequest(filter=wanted)
    response = await session.runtime.call("ListPodSandboxStats", request, pb.ListPodSandboxStatsResponse)
    return sorted(response.stats, key=lambda each: each.attributes.id)


async def repeat(show: Callable[[], Awaitable[None]], *, watch: bool) -> None:
    """Once, or again and again until interrupted; a terminal is cleared before each round."""
    while True:
        if watch and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            print(CLEAR, end="")
        await show()
        sys.stdout.flush()
        if not watch:
            return
        await asyncio.sleep(WATCH_SECONDS)
