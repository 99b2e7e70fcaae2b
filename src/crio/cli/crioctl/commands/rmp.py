"""crioctl rmp"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.cli.crioctl import names
from crio.cli.crioctl.each import for_each
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="all pods")
    parser.add_argument("-f", "--force", action="store_true", help="also pods that run: they are stopped first")
    parser.add_argument("pods", metavar="POD", nargs="*", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    if bool(args.pods) == args.all:
        raise InvalidArgument("cannot remove pods: name them, or say --all")

    async def remove(pod: str) -> None:
        status = await session.runtime.call(
            "PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id=pod), pb.PodSandboxStatusResponse
        )
        if status.status.state == pb.SANDBOX_READY:
            if not args.force:
                raise FailedPrecondition(
                    f"cannot remove pod {status.status.metadata.name or pod}: it runs; stop it first, or say --force"
                )
            request = pb.StopPodSandboxRequest(pod_sandbox_id=pod)
            await session.runtime.call("StopPodSandbox", request, pb.StopPodSandboxResponse)
            print(f"Stopped sandbox {pod}")
        await session.runtime.call(
            "RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=pod), pb.RemovePodSandboxResponse
        )
        print(f"Removed sandbox {pod}")

    if args.all:
        everything = await session.runtime.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)
        ids = [pod.id for pod in everything.items]
        if not ids:
            print("No pods to remove")
    else:
        ids = await names.pod_ids(session, args.pods)
    await for_each(ids, remove)
    return 0
