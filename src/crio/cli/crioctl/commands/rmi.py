"""crioctl rmi"""

from __future__ import annotations

import argparse
import sys

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, InvalidArgument, NotFound
from crio.cli.crioctl import listing
from crio.cli.crioctl.each import for_each
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="all images")
    parser.add_argument(
        "-q", "--prune", action="store_true", help="all images that no container uses and that are not pinned"
    )
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="name or id; an image is removed with all its names")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    if not (args.images or args.all or args.prune):
        raise InvalidArgument("cannot remove images: name them, or say --all or --prune")
    wanted = dict.fromkeys(args.images)
    if args.all or args.prune:
        response = await session.images.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)
        wanted |= dict.fromkeys(image.id for image in response.images if not (args.prune and image.pinned))
    if args.prune:
        for used in await _in_use(session):
            wanted.pop(used, None)
    if not wanted:
        print("No images to remove")

    async def remove(name: str) -> None:
        image = (await listing.image_status(session, name)).image
        if not image.id:
            raise NotFound(f"cannot remove image {name!r}: there is none with this name or id")
        if len(image.repo_tags) > 1 and not image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:")):
            print(f"crioctl: {name} has more names, which go too: {', '.join(image.repo_tags)}", file=sys.stderr)
        try:
            await session.images.call(
                "RemoveImage", pb.RemoveImageRequest(image=pb.ImageSpec(image=name)), pb.RemoveImageResponse
            )
        except CrioError:
            # A container may have begun to use it meanwhile.
            if args.prune:
                return
            raise
        for shown in image.repo_tags or image.repo_digests or [image.id]:
            print(f"Deleted: {shown}")

    await for_each(list(wanted), remove)
    return 0


async def _in_use(session: Session) -> set[str]:
    response = await session.runtime.call("ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse)
    used: set[str] = set()
    for reference in {container.image_id or container.image.image for container in response.containers}:
        used |= {reference, (await listing.image_status(session, reference)).image.id}
    return used
