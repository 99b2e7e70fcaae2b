"""ExecSync."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def exec_sync(node: Node, request: pb.ExecSyncRequest, context: Context) -> pb.ExecSyncResponse:
    result = await node.execs.run(request.container_id, request.cmd, request.timeout)
    return pb.ExecSyncResponse(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
