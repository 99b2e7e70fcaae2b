"""crioctl inspect"""

from __future__ import annotations

import argparse
import time
from typing import Any

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import NotFound
from crio.cli.crioctl import listing, names, render
from crio.cli.crioctl.arguments import add_container_filters, add_output
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_duration


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="containers in every state, not only running ones")
    add_container_filters(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="without the verbose information")
    add_output(parser, "json")
    parser.add_argument(
        "containers", metavar="CONTAINER", nargs="*", help="id or name; without one, all that pass the filters"
    )


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    if args.containers:
        ids = await names.container_ids(session, args.containers)
    else:
        ids = [container.id for container in await listing.containers(session, args)]
    if not ids:
        raise NotFound("cannot inspect containers: none was named, or none passes the filters")
    documents: list[dict[str, Any]] = []
    for container in ids:
        request = pb.ContainerStatusRequest(container_id=container, verbose=not args.quiet)
        response = await session.runtime.call("ContainerStatus", request, pb.ContainerStatusResponse)
        if args.output == "table":
            _show(response, verbose=not args.quiet)
        else:
            documents.append(render.status_document(_status(response.status), response.info))
    if documents:
        render.write(render.single_or_list(documents), args.output, args.template, sort_keys=True)
    return 0


def _status(status: pb.ContainerStatus) -> dict[str, Any]:
    plain = render.with_all_fields(status, render.to_plain(status))
    started = status.state != pb.CONTAINER_CREATED
    ended = status.state == pb.CONTAINER_EXITED or (status.state == pb.CONTAINER_UNKNOWN and status.finished_at > 0)
    plain["createdAt"] = render.timestamp(status.created_at)
    plain["startedAt"] = render.timestamp(status.started_at) if started else render.ZERO_TIME
    plain["finishedAt"] = render.timestamp(status.finished_at) if ended else render.ZERO_TIME
    return plain


def _show(response: pb.ContainerStatusResponse, *, verbose: bool) -> None:
    status = response.status
    now = time.time()
    print(f"ID: {status.id}")
    print(f"Name: {status.metadata.name}")
    if status.metadata.attempt:
        print(f"Attempt: {status.metadata.attempt}")
    print(f"State: {pb.ContainerState.Name(status.state)}")
    print(f"Created: {human_duration(now - status.created_at / 1e9)} ago")
    if status.state != pb.CONTAINER_CREATED:
        print(f"Started: {human_duration(now - status.started_at / 1e9)} ago")
    if status.state == pb.CONTAINER_EXITED:
        print(f"Finished: {human_duration(now - status.finished_at / 1e9)} ago")
        print(f"Exit Code: {status.exit_code}")
    render.show_map("Labels", status.labels)
    render.show_map("Annotations", status.annotations)
    if verbose:
        render.show_info(response.info)
