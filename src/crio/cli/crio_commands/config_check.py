"""`crio config check [FILE...]`: all mistakes at once, with their lines, and what has no effect."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from crio.cli.crio_commands.command import Call


def run(call: Call) -> int:
    from crio.config import ConfigError, load
    from crio.config.problem import Problem
    from crio.config.unsupported import unsupported_lines

    errors: Iterable[Problem] = ()
    warnings: Iterable[Problem] = ()
    notes: Iterable[str] = ()
    try:
        loaded = load(call.flags[0], more_files=call.arguments)
        warnings, files = loaded.warnings, loaded.files
        notes = unsupported_lines(loaded.config, loaded.sources.keys())
    except ConfigError as error:
        errors, warnings, files = error.problems, error.warnings, ()
    for problem in errors:
        print(f"error:   {problem}")
    unknown = False
    for problem in warnings:
        print(f"warning: {problem}")
        unknown = unknown or problem.unknown_key
    for line in notes:
        print(f"note:    {line}")
    sys.stdout.flush()
    if errors or unknown:
        return 1
    names = ", ".join(files) if files else "the defaults"
    print(f"{names}: the daemon can start with this configuration")
    return 0
