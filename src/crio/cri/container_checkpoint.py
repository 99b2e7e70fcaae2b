"""CheckpointContainer."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition
from crio.cri.node import Node
from crio.rpc.service import Context


async def checkpoint_container(
    node: Node, request: pb.CheckpointContainerRequest, context: Context
) -> pb.CheckpointContainerResponse:
    container = node.containers.get(request.container_id)
    raise FailedPrecondition(
        f"cannot checkpoint container {container.short_id}: this release does not checkpoint containers"
    )
