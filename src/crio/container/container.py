"""A container in memory, and the states it goes through.

              create               start                 its process ends
    (nothing) ──────▶ CREATED ────────────▶ RUNNING ───────────────────────▶ EXITED ──▶ (nothing)
                         │                                                      ▲
                         └── stop, or a start that fails ───────────────────────┘

The state is derived, never stored: EXITED if there is an exit record or a failed start, else RUNNING if it was started,
else CREATED.
"""

from __future__ import annotations

import asyncio
import enum
import os
from functools import cached_property

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.ids import ContainerId
from crio.conmon.exitrecord import ExitRecord
from crio.container.record import ContainerRecord, save


class State(enum.IntEnum):
    """As in the CRI's ContainerState."""

    CREATED = pb.CONTAINER_CREATED
    RUNNING = pb.CONTAINER_RUNNING
    EXITED = pb.CONTAINER_EXITED
    UNKNOWN = pb.CONTAINER_UNKNOWN


START_FAILED_EXIT_CODE = 128
"""What shells and containerd report for a command that could not be started."""


class Container:
    """One container. Made by `ContainerManager`; others only read it."""

    def __init__(self, directory: str, record: ContainerRecord) -> None:
        self.directory = directory
        self.record = record
        self.exit: ExitRecord | None = None
        self.exited = asyncio.Event()
        """Set when the container has ended, whatever its state was."""
        self.stop_deadline: float | None = None
        """When the running stop will kill, in the loop's time; a later stop may only shorten it."""
        self.stop_changed = asyncio.Event()
        self.execs_refused = False
        """Set once a stop kills: a new exec would only be killed as well, and a start that is under way has lost."""
        self.lock = asyncio.Lock()
        self.listed: tuple[int, bytes] = (-1, b"")
        """What lists tell of it in this state, encoded: nothing else of that changes. Kept by cri/encode.py."""

    @property
    def id(self) -> ContainerId:
        return ContainerId(self.record.id)

    @property
    def short_id(self) -> str:
        return self.record.id[:12]

    @property
    def name(self) -> str:
        return self.record.name

    @cached_property
    def config(self) -> pb.ContainerConfig:
        return pb.ContainerConfig.FromString(self.record.config)

    @property
    def state(self) -> State:
        if self.exit is not None or self.record.start_error:
            return State.EXITED
        return State.RUNNING if self.record.started_at else State.CREATED

    @property
    def running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def exit_code(self) -> int:
        """0 while it has not ended; 128 when it could not be started."""
        if self.record.start_error:
            return START_FAILED_EXIT_CODE
        return self.exit.exit_code if self.exit is not None else 0

    @property
    def finished_at(self) -> int:
        """Unix nanoseconds; 0 while it has not ended."""
        if self.record.start_error and self.exit is None:
            return self.record.lost_at
        return (self.exit.finished_at_ns or self.record.lost_at) if self.exit is not None else 0

    @property
    def reason(self) -> str:
        """In one word why it ended, in the words that the kubelet knows."""
        if self.state is not State.EXITED:
            return ""
        if self.record.start_error:
            return "StartError"
        if self.exit is not None and self.exit.oom_killed:
            return "OOMKilled"
        if self.record.forbidden_calls:
            return "seccomp killed"
        return "Completed" if self.exit_code == 0 else "Error"

    @property
    def message(self) -> str:
        """In a sentence why it ended, where there is more to say than the reason."""
        if self.record.start_error:
            return self.record.start_error
        if self.exit is None:
            return ""
        if self.exit.monitor_lost:
            return "its monitor ended before it did, so its exit code is not known"
        if self.record.forbidden_calls:
            return f"Used forbidden syscalls: {self.record.forbidden_calls}"
        if self.exit.log_dropped:
            return f"{self.exit.log_dropped} bytes of its output could not be logged: {self.exit.log_error}"
        return ""

    def path(self, name: str) -> str:
        """A file in the container's bundle."""
        return os.path.join(self.directory, name)

    def save(self) -> None:
        save(self.directory, self.record)
