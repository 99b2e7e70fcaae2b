"""crioctl rm"""

from __future__ import annotations

import argparse
import glob
import os
import sys

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.cli.crioctl import names
from crio.cli.crioctl.each import for_each
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="all containers")
    parser.add_argument("-f", "--force", action="store_true", help="also containers that run: they are stopped first")
    parser.add_argument("-k", "--keep-logs", action="store_true", help="keep the log file and its rotations")
    parser.add_argument("containers", metavar="CONTAINER", nargs="*", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    if bool(args.containers) == args.all:
        raise InvalidArgument("cannot remove containers: name them, or say --all")

    async def remove(container: str) -> None:
        request = pb.ContainerStatusRequest(container_id=container)
        status = (await session.runtime.call("ContainerStatus", request, pb.ContainerStatusResponse)).status
        if status.state == pb.CONTAINER_RUNNING:
            if not args.force:
                name = status.metadata.name or container
                raise FailedPrecondition(f"cannot remove container {name}: it runs; stop it first, or say --force")
            stop = pb.StopContainerRequest(container_id=container, timeout=0)
            await session.runtime.call("StopContainer", stop, pb.StopContainerResponse)
        await session.runtime.call(
            "RemoveContainer", pb.RemoveContainerRequest(container_id=container), pb.RemoveContainerResponse
        )
        if status.log_path and not args.keep_logs:
            _remove_logs(status.log_path)
        print(container)

    if args.all:
        everything = await session.runtime.call("ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse)
        ids = [container.id for container in everything.containers]
        if not ids:
            print("No containers to remove")
    else:
        ids = await names.container_ids(session, args.containers)
    await for_each(ids, remove)
    return 0


def _remove_logs(path: str) -> None:
    for each in [path, *glob.glob(f"{glob.escape(path)}.*")]:
        try:
            os.unlink(each)
        except FileNotFoundError:
            pass
        except OSError as error:
            print(f"crioctl: the log {each} could not be removed: {error.strerror}", file=sys.stderr)
