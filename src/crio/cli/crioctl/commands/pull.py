"""crioctl pull"""

from __future__ import annotations

import argparse

from crio.cli.crioctl import configfile
from crio.cli.crioctl.arguments import add_registry_login, key_value
from crio.cli.crioctl.pulling import login, pull
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    add_registry_login(parser)
    parser.add_argument("--pod-config", metavar="FILE", default="", help="pull on behalf of this pod")
    parser.add_argument(
        "-a", "--annotation", metavar="KEY=VALUE", action="append", type=key_value, default=[], help="for the runtime"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="without bars")
    parser.add_argument("image", metavar="NAME[:TAG|@DIGEST]")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    reference = await pull(
        session,
        args.image,
        login(args),
        sandbox=configfile.load_pod(args.pod_config) if args.pod_config else None,
        annotations=dict(args.annotation),
        timeout=args.pull_timeout,
        bars=not args.quiet,
    )
    print(f"Image is up to date for {reference}")
    return 0
