"""crioctl create"""

from __future__ import annotations

import argparse

from crio.cli.crioctl import configfile, names
from crio.cli.crioctl.creating import add_create_options, create_container
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    add_create_options(parser)
    parser.add_argument("pod", metavar="POD", help="id or name of the pod")
    parser.add_argument("container_config", metavar="container-config.json|yaml")
    parser.add_argument("pod_config", metavar="pod-config.json|yaml")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    container = configfile.load_container(args.container_config)
    pod = configfile.load_pod(args.pod_config)
    wanted = args.with_pull or (session.settings.pull_on_create and not args.no_pull)
    pod_id = await names.pod_id(session, args.pod)
    print(await create_container(session, args, pod_id, container, pod, pull_first=wanted))
    return 0
