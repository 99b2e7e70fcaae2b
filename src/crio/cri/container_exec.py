"""Exec: the address at which the command can be run and talked to."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def exec_container(node: Node, request: pb.ExecRequest, context: Context) -> pb.ExecResponse:
    container = node.execs.running(request.container_id)
    url = node.streams.exec_url(
        container.id,
        request.cmd,
        tty=request.tty,
        stdin=request.stdin,
        stdout=request.stdout,
        stderr=request.stderr,
    )
    return pb.ExecResponse(url=url)
