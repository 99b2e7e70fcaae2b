"""StopPodSandbox."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def stop_pod_sandbox(
    node: Node, request: pb.StopPodSandboxRequest, context: Context
) -> pb.StopPodSandboxResponse:
    await node.sandboxes.stop(request.pod_sandbox_id, context.deadline)
    return pb.StopPodSandboxResponse()
