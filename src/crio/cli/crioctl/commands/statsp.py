"""crioctl statsp"""

from __future__ import annotations

import argparse
import asyncio

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import names, render, table, usage
from crio.cli.crioctl.arguments import add_label_filter, add_output, seconds
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_size, truncated

HEADER = ("POD", "POD ID", "CPU %", "MEM")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--id", metavar="POD", default="", help="only this pod (id or name)")
    add_label_filter(parser)
    parser.add_argument(
        "-s", "--seconds", metavar="TIME", type=seconds, default=1.0, help="how long to measure CPU use (default: 1)"
    )
    parser.add_argument("-w", "--watch", action="store_true", help="again and again")
    add_output(parser, "table")
    parser.add_argument("pod", metavar="POD", nargs="?", default="", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    wanted = pb.PodSandboxStatsFilter(label_selector=dict(args.label))
    if pod := args.id or args.pod:
        wanted.id = await names.pod_id(session, pod)

    async def show() -> None:
        first = await usage.pod_stats(session, wanted)
        if not render.is_table(args.output):
            render.write(render.to_plain(pb.ListPodSandboxStatsResponse(stats=first)), args.output, args.template)
            return
        before = {each.attributes.id: usage.cpu_sample(each.linux.cpu) for each in first}
        await asyncio.sleep(args.seconds)
        rows = [
            (
                each.attributes.metadata.name,
                truncated(each.attributes.id),
                usage.percent_text(usage.cpu_percent(before.get(each.attributes.id), usage.cpu_sample(each.linux.cpu))),
                human_size(each.linux.memory.working_set_bytes.value),
            )
            for each in await usage.pod_stats(session, wanted)
            if each.linux.cpu.usage_core_nano_seconds.value or each.linux.memory.working_set_bytes.value
        ]
        table.show([HEADER, *rows])

    session.endless = args.watch
    await usage.repeat(show, watch=args.watch)
    return 0
