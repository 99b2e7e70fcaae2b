"""CreateContainer."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def create_container(
    node: Node, request: pb.CreateContainerRequest, context: Context
) -> pb.CreateContainerResponse:
    container = await node.containers.create(request.pod_sandbox_id, request.config, context.deadline)
    return pb.CreateContainerResponse(container_id=container.id)
