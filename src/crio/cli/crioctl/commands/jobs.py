"""crioctl jobs"""

from __future__ import annotations

import argparse
import time

from crio.api.crio.v1 import control_pb2
from crio.cli.crioctl import render, table
from crio.cli.crioctl.arguments import add_output
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_duration


def configure(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "table")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    response = await session.control.call("ListJobs", control_pb2.ListJobsRequest(), control_pb2.ListJobsResponse)
    if not render.is_table(args.output):
        render.write(render.to_plain(response), args.output, args.template)
        return 0
    now = time.time()
    rows = [
        (
            job.kind,
            job.subject,
            human_duration(now - job.started_at / 1e9),
            job.stage,
            human_duration(now - job.stage_started_at / 1e9),
            str(job.waiters),
        )
        for job in response.jobs
    ]
    table.show([("JOB", "OF", "AGE", "STAGE", "IN STAGE", "WAITERS"), *rows])
    return 0
