"""`crio config diff`: what a reload or restart would change."""

from __future__ import annotations

from crio.cli.crio_commands.command import Call


def run(call: Call) -> int:
    from crio.cli.crio_commands.inspect_client import get
    from crio.cli.crio_commands.table import DEFAULT_SOCKET
    from crio.config import load, parse
    from crio.config.reload import diff

    loaded = load(call.flags[0])
    socket = call.text("socket") or (
        loaded.config.api.listen if "crio.api.listen" in loaded.sources else DEFAULT_SOCKET
    )
    running = parse(get(socket, "/config").decode(), f"the daemon at {socket}")
    changes = list(diff(running, loaded.config))
    if not changes:
        print("the running daemon has the configuration of the files")
        return 0
    for change in changes:
        print(f"{change}{'   (needs a restart)' if change.needs_restart else ''}")
    return 1
