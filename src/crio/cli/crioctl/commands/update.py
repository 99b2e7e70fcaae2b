"""crioctl update"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import names
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    for option, text in (
        ("--cpu-period", "length of a CPU period in microseconds"),
        ("--cpu-quota", "CPU time in a period, in microseconds"),
        ("--cpu-share", "relative CPU weight"),
        ("--memory", "memory limit in bytes"),
        ("--memory-swap", "limit of memory and swap in bytes"),
        ("--oom-score-adj", "the out-of-memory killer's score"),
    ):
        parser.add_argument(option, metavar="N", type=int, default=0, help=f"{text} (default: 0, as it is)")
    parser.add_argument("--cpuset-cpus", metavar="LIST", default="", help="CPUs to use, e.g. 0-2,7")
    parser.add_argument("--cpuset-mems", metavar="LIST", default="", help="memory nodes to use")
    parser.add_argument("containers", metavar="CONTAINER", nargs="+", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    resources = pb.LinuxContainerResources(
        cpu_period=args.cpu_period,
        cpu_quota=args.cpu_quota,
        cpu_shares=args.cpu_share,
        memory_limit_in_bytes=args.memory,
        memory_swap_limit_in_bytes=args.memory_swap,
        oom_score_adj=args.oom_score_adj,
        cpuset_cpus=args.cpuset_cpus,
        cpuset_mems=args.cpuset_mems,
    )
    for container in await names.container_ids(session, args.containers):
        request = pb.UpdateContainerResourcesRequest(container_id=container, linux=resources)
        await session.runtime.call("UpdateContainerResources", request, pb.UpdateContainerResourcesResponse)
        print(container)
    return 0
