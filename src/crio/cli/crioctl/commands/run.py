"""crioctl run"""

from __future__ import annotations

import argparse
import sys

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError
from crio.cli.crioctl import configfile
from crio.cli.crioctl.creating import add_create_options, create_container
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-r", "--runtime", metavar="HANDLER", default="", help="the runtime handler to use")
    parser.add_argument("--rm-on-failure", action="store_true", help="remove the pod if the container does not start")
    add_create_options(parser)
    parser.add_argument("container_config", metavar="container-config.json|yaml")
    parser.add_argument("pod_config", metavar="pod-config.json|yaml")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    container = configfile.load_container(args.container_config)
    pod = configfile.load_pod(args.pod_config)
    request = pb.RunPodSandboxRequest(config=pod, runtime_handler=args.runtime)
    pod_id = (await session.runtime.call("RunPodSandbox", request, pb.RunPodSandboxResponse)).pod_sandbox_id
    try:
        wanted = args.with_pull or (session.settings.pull_on_run and not args.no_pull)
        container_id = await create_container(session, args, pod_id, container, pod, pull_first=wanted)
        await session.runtime.call(
            "StartContainer", pb.StartContainerRequest(container_id=container_id), pb.StartContainerResponse
        )
    except CrioError:
        if args.rm_on_failure:
            await session.runtime.call(
                "RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=pod_id), pb.RemovePodSandboxResponse
            )
        else:
            print(f"crioctl: the pod {pod_id} stays; `crioctl rmp -f {pod_id[:13]}` removes it", file=sys.stderr)
        raise
    print(container_id)
    return 0
