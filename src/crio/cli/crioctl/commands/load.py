"""crioctl load"""

from __future__ import annotations

import argparse
import os

from crio.api.crio.v1 import control_pb2
from crio.cli.crioctl.progress import Bars
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=["oci", "oci-archive", "docker-archive"],
        default="",
        help="found out by looking if not given",
    )
    parser.add_argument(
        "--name", metavar="NAME[:TAG]", action="append", default=[], help="name for the image, instead of those inside"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="without bars")
    parser.add_argument("path", metavar="PATH", help="an oci directory, or an oci-archive or docker-archive file")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    request = control_pb2.LoadRequest(path=os.path.abspath(args.path), format=args.format, names=args.name)
    image, names = "", list[str]()
    with Bars(args.path, enabled=not args.quiet) as bars:
        async for message in session.control.stream("Load", request, control_pb2.PullProgress):
            bars.update(message)
            image = message.image_id or image
            names = list(message.names) or names
    print(f"Loaded {', '.join(names) or image} ({image})" if names else f"Loaded {image}")
    return 0
