"""crioctl runp"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import configfile
from crio.cli.crioctl.arguments import seconds
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-r", "--runtime", metavar="HANDLER", default="", help="the runtime handler to use")
    parser.add_argument("-T", "--cancel-timeout", metavar="TIME", type=seconds, help="give up waiting after this time")
    parser.add_argument("pod_config", metavar="pod-config.json|yaml", help="the pod's configuration")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    request = pb.RunPodSandboxRequest(config=configfile.load_pod(args.pod_config), runtime_handler=args.runtime)
    limit = args.cancel_timeout or None
    response = await session.runtime.call("RunPodSandbox", request, pb.RunPodSandboxResponse, timeout=limit)
    print(response.pod_sandbox_id)
    return 0
