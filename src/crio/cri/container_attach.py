"""Attach: the address at which the streams of the container can be had."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def attach_container(node: Node, request: pb.AttachRequest, context: Context) -> pb.AttachResponse:
    container = node.execs.running(request.container_id, "attach to")
    url = node.streams.attach_url(
        container.id, tty=request.tty, stdin=request.stdin, stdout=request.stdout, stderr=request.stderr
    )
    return pb.AttachResponse(url=url)
