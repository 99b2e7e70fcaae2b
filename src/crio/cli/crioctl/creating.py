"""What create and run share: options, the pull before, and the request."""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl.arguments import add_registry_login, seconds
from crio.cli.crioctl.session import Session


def add_create_options(parser: argparse.ArgumentParser) -> None:
    """--with-pull, --no-pull, credentials and --cancel-timeout."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--with-pull", action="store_true", help="pull the image first")
    which.add_argument("--no-pull", action="store_true", help="do not pull the image")
    add_registry_login(parser)
    parser.add_argument("-T", "--cancel-timeout", metavar="TIME", type=seconds, help="give up waiting after this time")


async def create_container(
    session: Session,
    args: argparse.Namespace,
    pod_id: str,
    container: pb.ContainerConfig,
    pod: pb.PodSandboxConfig,
    *,
    pull_first: bool,
) -> str:
    """The id of the new container; its images, also those of image volumes, are pulled before if `pull_first`."""
    if pull_first:
        from crio.cli.crioctl.pulling import login, pull  # lazy: brings the bars

        auth = login(args)
        images = [container.image.image, *(mount.image.image for mount in container.mounts if mount.image.image)]
        for image in dict.fromkeys(images):
            annotations = container.image.annotations if image == container.image.image else {}
            await pull(session, image, auth, sandbox=pod, annotations=annotations, timeout=args.pull_timeout)
    request = pb.CreateContainerRequest(pod_sandbox_id=pod_id, config=container, sandbox_config=pod)
    limit = args.cancel_timeout or None
    response = await session.runtime.call("CreateContainer", request, pb.CreateContainerResponse, timeout=limit)
    return response.container_id
