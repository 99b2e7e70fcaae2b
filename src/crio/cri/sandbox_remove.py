"""RemovePodSandbox."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def remove_pod_sandbox(
    node: Node, request: pb.RemovePodSandboxRequest, context: Context
) -> pb.RemovePodSandboxResponse:
    await node.sandboxes.remove(request.pod_sandbox_id, context.deadline)
    return pb.RemovePodSandboxResponse()
