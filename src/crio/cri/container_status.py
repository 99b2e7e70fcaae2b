"""ContainerStatus."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri import encode
from crio.cri.info import container_info
from crio.cri.node import Node
from crio.rpc.service import Context


async def container_status(
    node: Node, request: pb.ContainerStatusRequest, context: Context
) -> pb.ContainerStatusResponse:
    container = node.containers.get(request.container_id)
    response = pb.ContainerStatusResponse(status=encode.container_status(container))
    if request.verbose:
        response.info.update(container_info(container))
    return response
