"""Which socket `crio status` asks."""

from __future__ import annotations

from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.table import DEFAULT_SOCKET


def socket_of(call: Call) -> str:
    """--socket of `crio status`, else the global --listen, else the default."""
    for flags, name in ((call.flags[1], "socket"), (call.global_flags, "listen")):
        value = flags.get(name)
        if isinstance(value, str):
            return value
    return DEFAULT_SOCKET
