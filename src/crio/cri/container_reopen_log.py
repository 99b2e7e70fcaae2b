"""ReopenContainerLog."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def reopen_container_log(
    node: Node, request: pb.ReopenContainerLogRequest, context: Context
) -> pb.ReopenContainerLogResponse:
    await node.containers.reopen_log(request.container_id)
    return pb.ReopenContainerLogResponse()
