"""crioctl events"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import render
from crio.cli.crioctl.arguments import add_output
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import truncated


def configure(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "json")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    session.endless = True
    async for event in session.runtime.stream("GetContainerEvents", pb.GetEventsRequest(), pb.ContainerEventResponse):
        if args.output == "table":
            kind = pb.ContainerEventType.Name(event.container_event_type)
            pod = event.pod_sandbox_status.metadata
            print(
                f"{render.timestamp(event.created_at)}  {kind:<25} {truncated(event.container_id)}  "
                f"{pod.namespace}/{pod.name}",
                flush=True,
            )
        else:
            render.write(render.to_plain(event), args.output, args.template)
            # Whoever reads a pipe wants each event when it happens.
            print(end="", flush=True)
    return 0
