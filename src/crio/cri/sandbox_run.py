"""RunPodSandbox."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def run_pod_sandbox(node: Node, request: pb.RunPodSandboxRequest, context: Context) -> pb.RunPodSandboxResponse:
    sandbox = await node.sandboxes.run(request.config, request.runtime_handler, context.deadline)
    return pb.RunPodSandboxResponse(pod_sandbox_id=sandbox.id)
