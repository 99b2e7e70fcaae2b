"""ListPodSandbox and StreamPodSandboxes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri import encode, filters
from crio.cri.node import Node
from crio.rpc.service import Context


async def list_pod_sandbox(node: Node, request: pb.ListPodSandboxRequest, context: Context) -> bytes:
    return b"".join(map(encode.listed_sandbox, filters.sandboxes(node.sandboxes, request.filter)))


async def stream_pod_sandboxes(
    node: Node, request: pb.StreamPodSandboxesRequest, context: Context
) -> AsyncIterator[bytes]:
    for batch in filters.batches(filters.sandboxes(node.sandboxes, request.filter)):
        yield b"".join(map(encode.listed_sandbox, batch))
