"""Which manual page a command line asks for."""

from __future__ import annotations

from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.parser import UsageError
from crio.cli.crio_commands.table import PAGES


def page_name(call: Call) -> str:
    """The one argument, or crio(8)."""
    name = call.arguments[0] if call.arguments else "crio"
    if name not in PAGES or len(call.arguments) > 1:
        raise UsageError(f"name one page of {', '.join(PAGES)}", call.path)
    return name
