"""ListImages and StreamImages."""

from __future__ import annotations

from collections.abc import AsyncIterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri import encode, filters
from crio.cri.node import Node
from crio.rpc.service import Context


async def list_images(node: Node, request: pb.ListImagesRequest, context: Context) -> pb.ListImagesResponse:
    return pb.ListImagesResponse(images=map(encode.image, node.images.list(request.filter.image.image or None)))


async def stream_images(
    node: Node, request: pb.StreamImagesRequest, context: Context
) -> AsyncIterator[pb.StreamImagesResponse]:
    for batch in filters.batches(node.images.list(request.filter.image.image or None)):
        yield pb.StreamImagesResponse(images=map(encode.image, batch))
