"""crioctl stop"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.cli.crioctl import names
from crio.cli.crioctl.arguments import seconds
from crio.cli.crioctl.each import for_each
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="all running containers")
    parser.add_argument(
        "-t",
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=0.0,
        help="how long the container may take to end before it is killed (default: 0, at once)",
    )
    parser.add_argument("containers", metavar="CONTAINER", nargs="*", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    if bool(args.containers) == args.all:
        raise InvalidArgument("cannot stop containers: name them, or say --all")
    if args.all:
        running = pb.ContainerFilter(state=pb.ContainerStateValue(state=pb.CONTAINER_RUNNING))
        response = await session.runtime.call(
            "ListContainers", pb.ListContainersRequest(filter=running), pb.ListContainersResponse
        )
        ids = [container.id for container in response.containers]
        if not ids:
            print("No running containers found.")
    else:
        ids = await names.container_ids(session, args.containers)

    async def stop(container: str) -> None:
        request = pb.StopContainerRequest(container_id=container, timeout=int(args.timeout))
        limit = session.settings.call_seconds
        await session.runtime.call(
            "StopContainer", request, pb.StopContainerResponse, timeout=None if limit is None else limit + args.timeout
        )
        print(container)

    await for_each(ids, stop)
    return 0
