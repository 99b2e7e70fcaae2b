"""`crio publish`: what a VM runtime's shim calls for each of its events, with the event on standard input.

The daemon asks a shim and waits for it, and needs none of them; a shim whose call fails would log an error each time.
"""

from __future__ import annotations

from crio.cli.crio_commands.command import Call


def run(call: Call) -> int:
    return 0
