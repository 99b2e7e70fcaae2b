"""How a container ended, as the daemon sees it."""

from __future__ import annotations

import contextlib
import json
import os

import msgspec

from crio.base.errors import CrioError
from crio.base.files import read_bounded
from crio.conmon.packets import Packet
from crio.conmon.record import EXIT_FILE, UNKNOWN_EXIT_CODE, temporary_of

_MAX_RECORD = 16 * 1024


class ExitRecord(msgspec.Struct, frozen=True):
    """`exit_code` is 128 plus the signal's number where `signal` is not 0, and 255 where nobody knows.

    `finished_at_ns` is in nanoseconds since the epoch, 0 if unknown. `oom_killed`: the kernel killed a process of the
    container for lack of memory at some time. `log_dropped` bytes of output could not be logged, for the reason
    `log_error`. `monitor_lost`: the monitor ended before the container did, which may therefore still run.
    """

    exit_code: int
    signal: int = 0
    oom_killed: bool = False
    finished_at_ns: int = 0
    log_dropped: int = 0
    log_error: str = ""
    monitor_lost: bool = False

    @classmethod
    def lost(cls) -> ExitRecord:
        """Of a container whose monitor has left no record."""
        return cls(exit_code=UNKNOWN_EXIT_CODE, monitor_lost=True)

    @classmethod
    def from_packet(cls, packet: Packet) -> ExitRecord:
        return cls(
            exit_code=packet.number("exit_code", UNKNOWN_EXIT_CODE),
            signal=packet.number("signal"),
            oom_killed=packet.flag("oom_killed"),
            finished_at_ns=packet.number("finished_at_ns"),
            log_dropped=packet.number("log_dropped"),
            log_error=packet.text("log_error"),
        )

    @classmethod
    def read(cls, bundle: str) -> ExitRecord | None:
        """The record in a bundle; None if there is none or it is damaged."""
        try:
            fields = json.loads(read_bounded(f"{bundle}/{EXIT_FILE}", _MAX_RECORD))
            return cls(
                exit_code=int(fields["exit_code"]),
                signal=int(fields.get("signal", 0)),
                oom_killed=bool(fields.get("oom_killed", False)),
                finished_at_ns=int(fields.get("finished_at_ns", 0)),
                log_dropped=int(fields.get("log_dropped", 0)),
                log_error=str(fields.get("log_error", "")),
            )
        except (OSError, CrioError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def remove_exit_code(directory: str, container_id: str) -> None:
    """Remove the exit code that other tools read there, and what a monitor has half written of it. Raises OSError."""
    path = os.path.join(directory, container_id)
    for name in (path, temporary_of(path)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
