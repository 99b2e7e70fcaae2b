"""crioctl metricsp"""

from __future__ import annotations

import argparse
import asyncio

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import render
from crio.cli.crioctl.arguments import add_output
from crio.cli.crioctl.session import Session, with_session

WATCH_SECONDS = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-w", "--watch", action="store_true", help="again and again")
    add_output(parser, "json")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    session.endless = args.watch
    while True:
        response = await session.runtime.call(
            "ListPodSandboxMetrics", pb.ListPodSandboxMetricsRequest(), pb.ListPodSandboxMetricsResponse
        )
        render.write(render.to_plain(response), args.output, args.template)
        if not args.watch:
            return 0
        await asyncio.sleep(WATCH_SECONDS)
