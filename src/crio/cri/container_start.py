"""StartContainer."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def start_container(node: Node, request: pb.StartContainerRequest, context: Context) -> pb.StartContainerResponse:
    await node.containers.start(request.container_id, context.deadline)
    return pb.StartContainerResponse()
