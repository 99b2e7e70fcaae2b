"""`crio config`: the effective or the default configuration as a commented file."""

from __future__ import annotations

import sys

from crio.cli.crio_commands.command import Call


def run(call: Call) -> int:
    from crio.config import default_config, load
    from crio.config.printer import print_config

    defaults = default_config()
    if call.switch("default"):
        sys.stdout.write(print_config(defaults, defaults))
        return 0
    loaded = load(call.global_flags, check_host=False)
    sys.stdout.write(print_config(loaded.config, defaults))
    sys.stdout.flush()
    for warning in loaded.warnings:
        print(f"crio: warning: {warning}", file=sys.stderr)
    return 0
