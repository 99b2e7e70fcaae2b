"""crioctl metricdescs"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import render
from crio.cli.crioctl.arguments import add_output
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "json")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    response = await session.runtime.call(
        "ListMetricDescriptors", pb.ListMetricDescriptorsRequest(), pb.ListMetricDescriptorsResponse
    )
    render.write(render.to_plain(response), args.output, args.template)
    return 0
