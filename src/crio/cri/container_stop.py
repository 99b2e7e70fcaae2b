"""StopContainer."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def stop_container(node: Node, request: pb.StopContainerRequest, context: Context) -> pb.StopContainerResponse:
    await node.containers.stop(request.container_id, max(request.timeout, 0), context.deadline)
    return pb.StopContainerResponse()
