"""The running daemon: whether it answers, is ready, and gets on with its work."""

from __future__ import annotations

import json
from collections.abc import Iterator

from crio import __version__
from crio.base.errors import CrioError
from crio.cli.doctor.finding import Finding, Patient, error, ok, warning

_LONG = 60.0
"""Seconds after which a stage of a job is worth a look."""


def check(patient: Patient) -> Iterator[Finding]:
    from crio.cli.crio_commands.inspect_client import get
    from crio.cli.doctor.questions import ask_status

    try:
        status = ask_status(patient.socket)
    except CrioError as problem:
        yield error("daemon", problem.message, "systemctl start crio; `journalctl -u crio` tells why it does not run")
        return
    if status.version != __version__:
        yield warning(
            "daemon",
            f"version {status.version} is running, and {__version__} is installed",
            "systemctl restart crio; pods go on meanwhile",
        )
    for name, message in status.failing:
        yield error("daemon", f"{name} is false: {message}", "see the findings about that subject")
    if not status.failing:
        yield ok("daemon", f"version {status.version} answers on {patient.socket}, and is ready")
    try:
        jobs = json.loads(get(patient.socket, "/debug/jobs"))
    except CrioError:
        return
    for job in jobs:
        if job["stage_seconds"] > _LONG:
            yield warning(
                "daemon",
                f"{job['kind']} of {job['subject']} is in stage {job['stage']} since {job['stage_seconds']:.0f} s",
                "`crioctl trace` and `crio status goroutines` show where it waits",
            )
