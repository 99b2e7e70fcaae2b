"""crioctl images"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import imagelist, render, table
from crio.cli.crioctl.arguments import add_output
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_size, truncated


def configure(parser: argparse.ArgumentParser) -> None:
    imagelist.add_filter(parser)
    parser.add_argument("--digests", action="store_true", help="with digests")
    parser.add_argument("--pinned", action="store_true", help="with whether the image is pinned")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("-v", "--verbose", action="store_true", help="everything, in paragraphs")
    add_output(parser, "table")
    parser.add_argument("name", metavar="NAME[:TAG]", nargs="?", default="", help="only this image")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    found = await imagelist.images(session, args.name, args.filter)
    if not render.is_table(args.output):
        render.write(render.to_plain(pb.ListImagesResponse(images=found)), args.output, args.template)
    elif args.quiet:
        for image in found:
            print(image.id)
    elif args.verbose:
        for image in found:
            _paragraph(image)
    else:
        table.show([_header(args), *(row for image in found for row in _rows(image, args))])
    return 0


def _header(args: argparse.Namespace) -> list[str]:
    digest, pinned = ["DIGEST"] * args.digests, ["PINNED"] * args.pinned
    return ["IMAGE", "TAG", *digest, "IMAGE ID", "SIZE", *pinned]


def _rows(image: pb.Image, args: argparse.Namespace) -> list[list[str]]:
    name, digest = imagelist.name_and_digest(image)
    identifier = image.id if args.no_trunc else truncated(image.id, "sha256:")
    digest = digest if args.no_trunc else truncated(digest, "sha256:")
    tail = [identifier, human_size(image.size, 3), *([str(image.pinned).lower()] if args.pinned else [])]
    return [
        [repository, tag, *([digest] if args.digests else []), *tail]
        for repository, tag in imagelist.names_and_tags(image, name)
    ]


def _paragraph(image: pb.Image) -> None:
    print(f"ID: {image.id}")
    for tag in image.repo_tags:
        print(f"RepoTags: {tag}")
    for digest in image.repo_digests:
        print(f"RepoDigests: {digest}")
    if image.size:
        print(f"Size: {image.size}")
    if image.HasField("uid"):
        print(f"Uid: {image.uid.value}")
    if image.username:
        print(f"Username: {image.username}")
    if image.pinned:
        print("Pinned: true")
    print()
