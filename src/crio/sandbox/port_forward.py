"""Connections to a port on a pod's localhost, from the daemon."""

from __future__ import annotations

import asyncio
import os
import socket

from crio.base.errors import FailedPrecondition, Unavailable
from crio.linux.namespaces import run_in_netns
from crio.sandbox.manager import SandboxManager

_TIMEOUT = 10.0
_ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class PodConnector:
    """Connects into pods. A socket belongs to the network namespace that it was made in, wherever it is used later."""

    def __init__(self, sandboxes: SandboxManager) -> None:
        self._sandboxes = sandboxes

    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        """A non-blocking TCP connection to `port` on the pod's localhost, IPv4 first; the caller closes it.

        Raises NotFound, FailedPrecondition for a stopped pod, Unavailable if nothing listens.
        """
        sandbox = self._sandboxes.get(sandbox_id)
        if not sandbox.ready:
            raise FailedPrecondition(f"cannot forward to pod {sandbox.id[:12]}: it is stopped")
        netns = sandbox.record.namespaces.get("net", "")
        reasons = []
        for family, address in _ADDRESSES:
            try:
                return await _connect(netns, family, address, port)
            except (OSError, TimeoutError) as error:
                reasons.append(f"{address}: {_reason(error)}")
        raise Unavailable(f"cannot forward to port {port} of pod {sandbox.id[:12]}: {'; '.join(reasons)}")


def _reason(error: OSError | TimeoutError) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return f"no answer within {_TIMEOUT:.0f} s"


async def _connect(netns: str, family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    def make() -> socket.socket:
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    connection = await asyncio.to_thread(run_in_netns, netns, make) if netns else make()
    try:
        async with asyncio.timeout(_TIMEOUT):
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection
