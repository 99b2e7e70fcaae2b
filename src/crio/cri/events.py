"""GetContainerEvents."""

from __future__ import annotations

from collections.abc import AsyncIterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri import encode
from crio.cri.node import Node
from crio.rpc.service import Context


async def get_container_events(
    node: Node, request: pb.GetEventsRequest, context: Context
) -> AsyncIterator[pb.ContainerEventResponse]:
    """Recent events first, then those to come; each with its pod as it is when the event is sent."""
    async for event in node.events.listen():
        response = pb.ContainerEventResponse(
            container_id=event.container_id, container_event_type=event.kind, created_at=event.at
        )
        response.pod_sandbox_status.CopyFrom(encode.sandbox_status(event.sandbox))
        response.containers_statuses.extend(
            encode.container_status(container) for container in node.containers.of_sandbox(event.sandbox.id)
        )
        yield response
