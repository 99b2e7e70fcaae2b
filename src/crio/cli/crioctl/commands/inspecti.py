"""crioctl inspecti"""

from __future__ import annotations

import argparse
from typing import Any

from crio.base.errors import NotFound
from crio.cli.crioctl import imagelist, listing, render
from crio.cli.crioctl.arguments import add_output
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_size


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="NAME", default="", help="only this image")
    imagelist.add_filter(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="without the verbose information")
    add_output(parser, "json")
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="name or id; without one, all that pass the filters")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    wanted = args.images or [image.id for image in await imagelist.images(session, args.name, args.filter)]
    if not wanted:
        raise NotFound("cannot inspect images: none was named, or none passes the filters")
    documents: list[dict[str, Any]] = []
    for name in wanted:
        response = await listing.image_status(session, name, verbose=not args.quiet)
        image = response.image
        if not image.id:
            raise NotFound(f"cannot find image {name!r}: it is not in the store; `crioctl pull` fetches it")
        if args.output == "table":
            print(f"ID: {image.id}")
            for tag in image.repo_tags:
                print(f"Tag: {tag}")
            for digest in image.repo_digests:
                print(f"Digest: {digest}")
            print(f"Size: {human_size(image.size, 3)}")
            if not args.quiet:
                render.show_info(response.info)
        else:
            documents.append(render.status_document(render.to_plain(image), response.info))
    if documents:
        render.write(render.single_or_list(documents), args.output, args.template, sort_keys=True)
    return 0
