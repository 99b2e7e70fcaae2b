"""crioctl cp"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.cli.crioctl import names
from crio.cli.crioctl.copying import Owner, Tree, container_owner, copy
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--archive", action="store_true", help="keep owners; without it the copies are root's")
    parser.add_argument("source", metavar="SOURCE", help="PATH, or CONTAINER:PATH")
    parser.add_argument("destination", metavar="DESTINATION", help="PATH, or CONTAINER:PATH")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    (source, path), (target, destination) = split(args.source), split(args.destination)
    if bool(source) == bool(target):
        raise InvalidArgument("cannot copy: exactly one of source and destination is CONTAINER:PATH")
    container = source or target
    pid = await _pid(session, container)
    with Tree(f"/proc/{pid}/root", container) as inside, Tree("/", "") as host:
        if source:
            owner = Owner(os.geteuid(), os.getegid(), args.archive)
            work = (inside, path, host, os.path.abspath(destination) + "/" * destination.endswith("/"), owner)
        else:
            owner = container_owner(pid)
            owner.keep = args.archive
            work = (host, os.path.abspath(path), inside, destination, owner)
        await asyncio.to_thread(copy, *work, lambda text: print(f"crioctl: {text}", file=sys.stderr))
    return 0


def split(text: str) -> tuple[str, str]:
    """Container ("" for the host) and path. What begins with a dot or slash is a path on the host, colon or not."""
    container, colon, path = text.partition(":")
    if not colon or not container or text.startswith((".", "/")):
        return "", text
    return container, path if path.startswith("/") else f"/{path}"


async def _pid(session: Session, name: str) -> int:
    """The container's first process. Raises FailedPrecondition if it does not run or the runtime does not tell."""
    container = await names.container_id(session, name)
    response = await session.runtime.call(
        "ContainerStatus", pb.ContainerStatusRequest(container_id=container, verbose=True), pb.ContainerStatusResponse
    )
    if response.status.state != pb.CONTAINER_RUNNING:
        raise FailedPrecondition(f"cannot copy: container {name} does not run")
    for text in response.info.values():
        try:
            pid = json.loads(text).get("pid", 0)
        except (ValueError, AttributeError):
            continue
        if isinstance(pid, int) and pid > 1:
            return pid
    raise FailedPrecondition(f"cannot copy: the runtime does not tell the process of container {name}")
