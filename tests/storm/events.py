"""Whoever listens to container events hears of each container in the order of its life."""

from __future__ import annotations

import asyncio
import contextlib

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError
from crio.rpc.client import Client
from node import Node
from storm.model import Wrong

_PATH = "/runtime.v1.RuntimeService/GetContainerEvents"
_SECONDS = 600.0


class Follower:
    """Listens, and again after each end of the daemon, until cancelled."""

    def __init__(self, node: Node, up: asyncio.Event) -> None:
        self._node = node
        self._up = up
        self.heard = 0

    async def run(self) -> None:
        """Raises Wrong."""
        while True:
            await self._up.wait()
            client = Client(self._node.endpoint)
            try:
                await self._listen(client)
            except (CrioError, OSError):
                await asyncio.sleep(0.05)
            finally:
                with contextlib.suppress(Exception):
                    await client.close()

    async def _listen(self, client: Client) -> None:
        """One connection. A daemon repeats what it has told others, so what was heard before does not count."""
        phases: dict[str, int] = {}
        async for event in client.stream(_PATH, pb.GetEventsRequest(), pb.ContainerEventResponse, _SECONDS):
            before = phases.get(event.container_id, -1)
            kind = event.container_event_type
            # The numbers of the kinds are in the order of a life.
            if kind <= before:
                raise Wrong(
                    f"{event.container_id[:12]}: {pb.ContainerEventType.Name(kind)} is told after "
                    f"{pb.ContainerEventType.Name(pb.ContainerEventType.ValueType(before))}"
                )
            phases[event.container_id] = kind
            self.heard += 1
