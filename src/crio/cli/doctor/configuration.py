"""crio.conf: whether the daemon can use it, what has no effect, and what of it waits for a reload or restart."""

from __future__ import annotations

from collections.abc import Iterator

from crio.base.errors import CrioError
from crio.cli.doctor.finding import Finding, Patient, ok, warning


def check(patient: Patient) -> Iterator[Finding]:
    loaded = patient.loaded
    if loaded is None:
        return  # `diagnose` has said why
    from crio.config.unsupported import unsupported_lines

    for problem in loaded.warnings:
        remedy = "remove or correct it" if problem.unknown_key else "change it when you can"
        yield warning("configuration", str(problem), remedy)
    for line in unsupported_lines(loaded.config, loaded.sources.keys()):
        yield warning("configuration", line)
    yield ok("configuration", ", ".join(loaded.files) if loaded.files else "no files; the defaults are in use")
    yield from _differences(patient)


def _differences(patient: Patient) -> Iterator[Finding]:
    from crio.cli.crio_commands.inspect_client import get
    from crio.config import parse
    from crio.config.reload import diff

    assert patient.loaded is not None
    try:
        running = parse(get(patient.socket, "/config").decode(), "the daemon")
    except CrioError:
        return
    changes = list(diff(running, patient.loaded.config))
    if not changes:
        return
    names = ", ".join(change.dotted for change in changes[:8])
    restart = any(change.needs_restart for change in changes)
    yield warning(
        "configuration",
        f"the running daemon has other values than the files for {names}{' and more' if len(changes) > 8 else ''}",
        f"systemctl {'restart' if restart else 'reload'} crio, unless it has them from flags or variables of its own; "
        "`crio config diff` shows both",
    )
