"""`crio status heap`: what takes the daemon's memory, into a file."""

from __future__ import annotations

import os
import tempfile

from crio.base.errors import Unavailable
from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.inspect_client import get
from crio.cli.crio_commands.status_socket import socket_of


def run(call: Call) -> int:
    dump = get(socket_of(call), "/debug/heap")
    path = call.text("file")
    try:
        if path:
            with open(path, "wb") as file:
                file.write(dump)
        else:
            fd, path = tempfile.mkstemp(prefix="crio-heap-", suffix=".out")
            with os.fdopen(fd, "wb") as file:
                file.write(dump)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from None
    print(f"Wrote heap dump to: {path}")
    return 0
