"""ImageStatus: an unknown image is an empty answer, not an error."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.cri import encode
from crio.cri.info import image_info
from crio.cri.node import Node
from crio.rpc.service import Context


async def image_status(node: Node, request: pb.ImageStatusRequest, context: Context) -> pb.ImageStatusResponse:
    if not request.image.image:
        raise InvalidArgument("cannot tell the status of an image: image.image is empty")
    image = node.images.status(request.image.image)
    if image is None:
        return pb.ImageStatusResponse()
    response = pb.ImageStatusResponse(image=encode.image(image))
    if request.verbose:
        response.info.update(image_info(image))
    return response
