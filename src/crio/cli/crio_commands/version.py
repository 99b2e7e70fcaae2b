"""`crio version`: the version, and with --json or --verbose more about the installation."""

from __future__ import annotations

import json

from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.version_facts import facts, print_text


def run(call: Call) -> int:
    verbose = call.switch("verbose")
    if call.switch("json"):
        print(json.dumps({_json_name(name): value for name, value in facts(verbose=verbose).items()}, indent=2))
    else:
        print_text(verbose=verbose)
    return 0


def _json_name(name: str) -> str:
    return name[0].lower() + name[1:]
