"""RemoveImage: by any of its names the whole image goes; an unknown one is fine."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.cri.node import Node
from crio.rpc.service import Context


async def remove_image(node: Node, request: pb.RemoveImageRequest, context: Context) -> pb.RemoveImageResponse:
    if not request.image.image:
        raise InvalidArgument("cannot remove an image: image.image is empty")
    await node.images.remove(request.image.image)
    return pb.RemoveImageResponse()
