"""ContainerStats, ListContainerStats and StreamContainerStats."""

from __future__ import annotations

from collections.abc import AsyncIterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.protobuf import repeated
from crio.cri import filters
from crio.cri.node import Node
from crio.rpc.service import Context


async def container_stats(node: Node, request: pb.ContainerStatsRequest, context: Context) -> pb.ContainerStatsResponse:
    container = node.containers.get(request.container_id)
    return pb.ContainerStatsResponse(stats=await node.stats.container(container))


async def list_container_stats(node: Node, request: pb.ListContainerStatsRequest, context: Context) -> bytes:
    containers = filters.containers_for_stats(node.containers, request.filter)
    return repeated(1, await node.stats.containers(containers))


async def stream_container_stats(
    node: Node, request: pb.StreamContainerStatsRequest, context: Context
) -> AsyncIterator[bytes]:
    containers = filters.containers_for_stats(node.containers, request.filter)
    for batch in filters.batches(await node.stats.containers(containers)):
        yield repeated(1, batch)
