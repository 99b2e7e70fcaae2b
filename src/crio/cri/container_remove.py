"""RemoveContainer."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def remove_container(
    node: Node, request: pb.RemoveContainerRequest, context: Context
) -> pb.RemoveContainerResponse:
    await node.containers.remove(request.container_id, context.deadline)
    return pb.RemoveContainerResponse()
