"""crioctl pulls"""

from __future__ import annotations

import argparse
import time

from crio.api.crio.v1 import control_pb2
from crio.cli.crioctl import render, table
from crio.cli.crioctl.arguments import add_output
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_duration, human_size


def configure(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "table")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    response = await session.control.call("ListPulls", control_pb2.ListPullsRequest(), control_pb2.ListPullsResponse)
    if not render.is_table(args.output):
        render.write(render.to_plain(response), args.output, args.template)
        return 0
    now = time.time()
    rows = [
        (
            pull.image,
            pull.stage,
            f"{human_size(pull.bytes_done, 3)}/{human_size(pull.bytes_total, 3) if pull.bytes_total else '?'}",
            f"{human_size(pull.bytes_per_second, 3)}/s",
            human_duration(now - pull.started_at / 1e9),
            str(pull.waiters),
            pull.namespace,
        )
        for pull in response.pulls
    ]
    table.show([("IMAGE", "STAGE", "DONE", "RATE", "AGE", "WAITERS", "NAMESPACE"), *rows])
    return 0
