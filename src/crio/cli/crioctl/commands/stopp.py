"""crioctl stopp"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import names
from crio.cli.crioctl.each import for_each
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pods", metavar="POD", nargs="+", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    async def stop(pod: str) -> None:
        request = pb.StopPodSandboxRequest(pod_sandbox_id=pod)
        await session.runtime.call("StopPodSandbox", request, pb.StopPodSandboxResponse)
        print(f"Stopped sandbox {pod}")

    await for_each(await names.pod_ids(session, args.pods), stop)
    return 0
