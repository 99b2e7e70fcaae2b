"""What is known of a pod or container: its life only goes forward, so what it may be is a range."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from crio.api.runtime.v1 import api_pb2 as pb


class Wrong(AssertionError):
    """The daemon did what it must not."""


class Phase(enum.IntEnum):
    """Of a life. A pod is NONE, RUNNING (ready), ENDED (not ready), GONE."""

    NONE = 0
    MADE = 1
    RUNNING = 2
    ENDED = 3
    GONE = 4


CONTAINER_PHASES = {
    pb.CONTAINER_CREATED: Phase.MADE,
    pb.CONTAINER_RUNNING: Phase.RUNNING,
    pb.CONTAINER_EXITED: Phase.ENDED,
}
POD_PHASES = {pb.SANDBOX_READY: Phase.RUNNING, pb.SANDBOX_NOTREADY: Phase.ENDED}


@dataclass
class Life:
    """From `low` to `high`: the earliest and the latest phase that it may be in."""

    low: Phase = Phase.NONE
    high: Phase = Phase.NONE
    id: str = ""

    def certainly(self, phase: Phase) -> bool:
        return self.low == self.high == phase

    def may_become(self, phase: Phase) -> None:
        """An operation to this effect was asked for, and whether it was or will be done is not known."""
        self.high = max(self.high, phase)

    def has_become(self, phase: Phase) -> None:
        """An operation to this effect was confirmed."""
        self.low, self.high = max(self.low, phase), max(self.high, phase)

    def seen(self, phase: Phase) -> None:
        """The daemon says that it is in this phase."""
        if not self.low <= phase <= self.high:
            raise Wrong(f"{self.id[:12]} is {phase.name}, and must be {self.low.name} to {self.high.name}")
        self.low = phase

    def missed(self) -> None:
        """The daemon says that it does not know it."""
        if self.low == Phase.NONE:
            return
        if self.high < Phase.GONE:
            raise Wrong(f"{self.id[:12]} is lost: it must be {self.low.name} to {self.high.name}")
        self.low = Phase.GONE


@dataclass(frozen=True)
class Program:
    """What a container runs, and how it must end."""

    command: tuple[str, ...]
    ends_by_itself: bool
    exit_code: int
    """If it ends by itself."""
    code_after_signal: int = 137
    lines: tuple[str, ...] = ()
    """Its log, once it has ended by itself."""


def programs() -> tuple[Program, ...]:
    ticks = "i=0; while [ $i -lt 15 ]; do echo tick $i; i=$((i+1)); sleep 0.02; done; exit 9"
    return (
        Program(("sleep", "100000"), False, 0),
        Program(("sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done"), False, 0, 5),
        Program(("sh", "-c", "sleep 0.3; exit 7"), True, 7),
        Program(("true",), True, 0),
        Program(("sh", "-c", ticks), True, 9, lines=tuple(f"tick {number}" for number in range(15))),
    )


@dataclass
class Container(Life):
    """A container of the model."""

    name: str = ""
    attempt: int = 0
    program: Program = field(default_factory=lambda: programs()[0])
    image: str = ""
    """Of those that come and go; "" is the one that stays."""
    shares: set[int] = field(default_factory=lambda: {0})
    """The CPU shares that anybody has asked for."""
    stop_asked: bool = False
    """Somebody wanted it to end."""
    start_contested: bool = False
    """A start was under way while its end was asked for."""

    def end_asked(self) -> None:
        self.stop_asked = True
        if self.low < Phase.RUNNING <= self.high:
            self.start_contested = True

    def started(self) -> Phase:
        """The phase up to which a start may lead."""
        return Phase.ENDED if self.program.ends_by_itself else Phase.RUNNING

    def check_end(self, status: pb.ContainerStatus) -> None:
        """Raise Wrong unless its exit code is one that it may have, and its times are in order."""
        codes: set[int] = set()
        if self.program.ends_by_itself:
            codes.add(self.program.exit_code)
        if self.stop_asked:
            # Without a PID namespace of its own it is not its first process, and dies of SIGTERM: 143.
            codes |= {137, 143, self.program.code_after_signal}
        if self.start_contested or not status.started_at:
            codes |= {128, 137, 143}
        if status.exit_code not in codes:
            raise Wrong(
                f"container {self.id[:12]} ({' '.join(self.program.command)}) has exit code {status.exit_code} "
                f"({status.reason}: {status.message}), and may have {sorted(codes)}"
            )
        if status.started_at and not status.created_at <= status.started_at <= status.finished_at:
            raise Wrong(
                f"container {self.id[:12]} was created at {status.created_at}, started at {status.started_at} and "
                f"finished at {status.finished_at}"
            )

    def check_shares(self, shares: int) -> None:
        """Raise Wrong unless it has those that it was made with, or that an update has asked for."""
        if shares not in self.shares:
            raise Wrong(f"container {self.id[:12]} has {shares} CPU shares, and may have {sorted(self.shares)}")

    def check_log(self, lines: list[str]) -> None:
        """Raise Wrong unless the log of a container that has ended by itself is whole."""
        if self.program.ends_by_itself and not self.stop_asked and lines != list(self.program.lines):
            raise Wrong(f"container {self.id[:12]} has the log {lines[:40]}")


@dataclass
class Pod(Life):
    """A pod of the model, with its containers."""

    config: pb.PodSandboxConfig = field(default_factory=pb.PodSandboxConfig)
    handler: str = ""
    containers: list[Container] = field(default_factory=list)

    def stop_asked(self) -> None:
        self.may_become(Phase.ENDED)
        for container in self.containers:
            container.end_asked()
            container.may_become(Phase.ENDED)

    def stopped(self) -> None:
        self.has_become(Phase.ENDED)
        for container in self.containers:
            if container.low >= Phase.MADE:
                container.has_become(Phase.ENDED)

    def remove_asked(self) -> None:
        self.stop_asked()
        self.may_become(Phase.GONE)
        for container in self.containers:
            container.may_become(Phase.GONE)

    def removed(self) -> None:
        self.has_become(Phase.GONE)
        for container in self.containers:
            container.has_become(Phase.GONE)
