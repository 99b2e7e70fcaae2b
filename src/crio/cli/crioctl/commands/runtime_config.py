"""crioctl runtime-config"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import table
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    pass


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    response = await session.runtime.call("RuntimeConfig", pb.RuntimeConfigRequest(), pb.RuntimeConfigResponse)
    if response.HasField("linux"):
        table.show([("cgroup driver:", pb.CgroupDriver.Name(response.linux.cgroup_driver))], minimum=10)
    return 0
