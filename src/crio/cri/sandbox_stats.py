"""PodSandboxStats, ListPodSandboxStats and StreamPodSandboxStats."""

from __future__ import annotations

from collections.abc import AsyncIterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.protobuf import repeated
from crio.cri import filters
from crio.cri.node import Node
from crio.rpc.service import Context


async def pod_sandbox_stats(
    node: Node, request: pb.PodSandboxStatsRequest, context: Context
) -> pb.PodSandboxStatsResponse:
    sandbox = node.sandboxes.get(request.pod_sandbox_id)
    return pb.PodSandboxStatsResponse(stats=await node.stats.sandbox(sandbox))


async def list_pod_sandbox_stats(node: Node, request: pb.ListPodSandboxStatsRequest, context: Context) -> bytes:
    sandboxes = filters.sandboxes_for_stats(node.sandboxes, request.filter)
    return repeated(1, await node.stats.sandboxes(sandboxes))


async def stream_pod_sandbox_stats(
    node: Node, request: pb.StreamPodSandboxStatsRequest, context: Context
) -> AsyncIterator[bytes]:
    sandboxes = filters.sandboxes_for_stats(node.sandboxes, request.filter)
    for batch in filters.batches(await node.stats.sandboxes(sandboxes)):
        yield repeated(1, batch)
