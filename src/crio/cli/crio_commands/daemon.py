"""`crio` without a command: the daemon."""

from __future__ import annotations

import sys

from crio.cli.crio_commands.command import Call


def run(call: Call) -> int:
    from crio.config import load

    flags = {name: value for name, value in call.global_flags.items() if name not in ("help", "version")}
    loaded = load(flags)
    for warning in loaded.warnings:
        print(f"crio: warning: {warning}", file=sys.stderr)
    from crio.daemon.main import main

    return main(loaded)
