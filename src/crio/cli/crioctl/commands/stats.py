"""crioctl stats"""

from __future__ import annotations

import argparse
import asyncio

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import names, render, table, usage
from crio.cli.crioctl.arguments import add_label_filter, add_output, seconds
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_size, truncated

HEADER = ("CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also containers that do not run")
    parser.add_argument("--id", metavar="CONTAINER", default="", help="only this container (id or name)")
    parser.add_argument("-p", "--pod", metavar="POD", default="", help="only containers of this pod (id or name)")
    add_label_filter(parser)
    parser.add_argument(
        "-s", "--seconds", metavar="TIME", type=seconds, default=1.0, help="how long to measure CPU use (default: 1)"
    )
    parser.add_argument("-w", "--watch", action="store_true", help="again and again")
    add_output(parser, "table")
    parser.add_argument("container", metavar="CONTAINER", nargs="?", default="", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    wanted = pb.ContainerStatsFilter(label_selector=dict(args.label))
    if container := args.id or args.container:
        wanted.id = await names.container_id(session, container)
    if args.pod:
        wanted.pod_sandbox_id = await names.pod_id(session, args.pod)

    async def show() -> None:
        first = await usage.container_stats(session, wanted)
        if not render.is_table(args.output):
            render.write(render.to_plain(pb.ListContainerStatsResponse(stats=first)), args.output, args.template)
            return
        before = {each.attributes.id: usage.cpu_sample(each.cpu) for each in first}
        await asyncio.sleep(args.seconds)
        rows = [
            _row(each, usage.cpu_percent(before.get(each.attributes.id), usage.cpu_sample(each.cpu)))
            for each in await usage.container_stats(session, wanted)
            if args.all or each.cpu.usage_core_nano_seconds.value or each.memory.working_set_bytes.value
        ]
        table.show([HEADER, *rows])

    session.endless = args.watch
    await usage.repeat(show, watch=args.watch)
    return 0


def _row(stats: pb.ContainerStats, percent: float | None) -> tuple[str, ...]:
    return (
        truncated(stats.attributes.id),
        stats.attributes.metadata.name,
        usage.percent_text(percent),
        human_size(stats.memory.working_set_bytes.value),
        human_size(stats.writable_layer.used_bytes.value),
        str(stats.writable_layer.inodes_used.value),
        human_size(stats.swap.swap_usage_bytes.value),
    )
