"""UpdateContainerResources."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def update_container_resources(
    node: Node, request: pb.UpdateContainerResourcesRequest, context: Context
) -> pb.UpdateContainerResourcesResponse:
    await node.containers.update_resources(request.container_id, request.linux)
    return pb.UpdateContainerResourcesResponse()
