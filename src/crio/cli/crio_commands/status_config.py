"""`crio status config`: the running daemon's configuration as TOML."""

from __future__ import annotations

import sys

from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.inspect_client import get
from crio.cli.crio_commands.status_socket import socket_of


def run(call: Call) -> int:
    sys.stdout.write(get(socket_of(call), "/config").decode("utf-8", "replace"))
    return 0
