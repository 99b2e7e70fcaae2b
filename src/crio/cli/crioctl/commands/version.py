"""crioctl version"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    pass


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    response = await session.runtime.call("Version", pb.VersionRequest(version="v1"), pb.VersionResponse)
    print("Version: ", response.version)
    print("RuntimeName: ", response.runtime_name)
    print("RuntimeVersion: ", response.runtime_version)
    print("RuntimeApiVersion: ", response.runtime_api_version)
    return 0
