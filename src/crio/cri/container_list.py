"""ListContainers and StreamContainers."""

from __future__ import annotations

from collections.abc import AsyncIterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri import encode, filters
from crio.cri.node import Node
from crio.rpc.service import Context


async def list_containers(node: Node, request: pb.ListContainersRequest, context: Context) -> bytes:
    return b"".join(map(encode.listed_container, filters.containers(node.containers, request.filter)))


async def stream_containers(node: Node, request: pb.StreamContainersRequest, context: Context) -> AsyncIterator[bytes]:
    for batch in filters.batches(filters.containers(node.containers, request.filter)):
        yield b"".join(map(encode.listed_container, batch))
