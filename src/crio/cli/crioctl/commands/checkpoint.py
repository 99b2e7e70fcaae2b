"""crioctl checkpoint"""

from __future__ import annotations

import argparse
import os

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import names
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-e", "--export", metavar="FILE", required=True, help="the archive to write, on the node")
    parser.add_argument("containers", metavar="CONTAINER", nargs="+", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    for container in await names.container_ids(session, args.containers):
        request = pb.CheckpointContainerRequest(container_id=container, location=os.path.abspath(args.export))
        await session.runtime.call("CheckpointContainer", request, pb.CheckpointContainerResponse)
        print(container)
    return 0
