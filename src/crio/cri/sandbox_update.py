"""UpdatePodSandboxResources: the kubelet tells a pod's new limits, and sets them on the pod's group by itself."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def update_pod_sandbox_resources(
    node: Node, request: pb.UpdatePodSandboxResourcesRequest, context: Context
) -> pb.UpdatePodSandboxResourcesResponse:
    await node.sandboxes.update_resources(request.pod_sandbox_id, request.overhead, request.resources)
    return pb.UpdatePodSandboxResourcesResponse()
