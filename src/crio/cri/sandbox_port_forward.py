"""PortForward: the address at which ports of the pod can be reached."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition
from crio.cri.node import Node
from crio.rpc.service import Context


async def port_forward(node: Node, request: pb.PortForwardRequest, context: Context) -> pb.PortForwardResponse:
    sandbox = node.sandboxes.get(request.pod_sandbox_id)
    if not sandbox.ready:
        raise FailedPrecondition(f"cannot forward ports of pod {sandbox.id[:12]}: it is stopped")
    return pb.PortForwardResponse(url=node.streams.port_forward_url(sandbox.id, request.port))
