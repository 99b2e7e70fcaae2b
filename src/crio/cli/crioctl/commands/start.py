"""crioctl start"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import names
from crio.cli.crioctl.each import for_each
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("containers", metavar="CONTAINER", nargs="+", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    async def start(container: str) -> None:
        request = pb.StartContainerRequest(container_id=container)
        await session.runtime.call("StartContainer", request, pb.StartContainerResponse)
        print(container)

    await for_each(await names.container_ids(session, args.containers), start)
    return 0
