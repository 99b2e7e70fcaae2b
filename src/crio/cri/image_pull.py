"""PullImage."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.cri.node import Node
from crio.image.credentials import Credentials
from crio.rpc.service import Context


async def pull_image(node: Node, request: pb.PullImageRequest, context: Context) -> pb.PullImageResponse:
    if not request.image.image:
        raise InvalidArgument("cannot pull an image: image.image is empty")
    image = await node.images.pull(
        request.image.image,
        credentials(request.auth),
        namespace=request.sandbox_config.metadata.namespace,
        cgroup_parent=request.sandbox_config.linux.cgroup_parent,
        deadline=context.deadline,
    )
    return pb.PullImageResponse(image_ref=image.id)


def credentials(auth: pb.AuthConfig) -> Credentials | None:
    """The credentials of the request, or None to use those of the node."""
    if not any((auth.username, auth.password, auth.auth, auth.identity_token, auth.registry_token)):
        return None
    return Credentials(
        username=auth.username,
        password=auth.password,
        auth=auth.auth,
        identity_token=auth.identity_token,
        registry_token=auth.registry_token,
    )
