"""PodSandboxStatus."""

from __future__ import annotations

import time

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri import encode
from crio.cri.info import sandbox_info
from crio.cri.node import Node
from crio.rpc.service import Context


async def pod_sandbox_status(
    node: Node, request: pb.PodSandboxStatusRequest, context: Context
) -> pb.PodSandboxStatusResponse:
    sandbox = node.sandboxes.get(request.pod_sandbox_id)
    response = pb.PodSandboxStatusResponse(
        status=encode.sandbox_status(sandbox),
        containers_statuses=map(encode.container_status, node.containers.of_sandbox(sandbox.id)),
        timestamp=time.time_ns(),
    )
    if request.verbose:
        response.info.update(sandbox_info(sandbox, node.config().image.pause_image))
    return response
