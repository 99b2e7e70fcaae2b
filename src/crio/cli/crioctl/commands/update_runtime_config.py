"""crioctl update-runtime-config"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-p", "--pod-cidr", metavar="CIDR", default="", help="address range for pods")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    config = pb.RuntimeConfig(network_config=pb.NetworkConfig(pod_cidr=args.pod_cidr))
    request = pb.UpdateRuntimeConfigRequest(runtime_config=config)
    await session.runtime.call("UpdateRuntimeConfig", request, pb.UpdateRuntimeConfigResponse)
    return 0
