"""crioctl pods"""

from __future__ import annotations

import argparse
import time

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import listing, render, table
from crio.cli.crioctl.arguments import add_output, add_pod_filters
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_duration, truncated

HEADER = ("POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--id", metavar="POD", default="", help="only this pod (id or name)")
    add_pod_filters(parser)
    parser.add_argument("--no-trunc", action="store_true", help="whole ids")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("-v", "--verbose", action="store_true", help="everything, in paragraphs")
    add_output(parser, "table")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    found = await listing.pods(session, args)
    if not render.is_table(args.output):
        render.write(render.to_plain(pb.ListPodSandboxResponse(items=found)), args.output, args.template)
    elif args.quiet:
        for pod in found:
            print(pod.id)
    elif args.verbose:
        for pod in found:
            _paragraph(pod)
    else:
        now = time.time()
        table.show([HEADER, *(_row(pod, now, whole=args.no_trunc) for pod in found)])
    return 0


def _row(pod: pb.PodSandbox, now: float, *, whole: bool) -> tuple[str, ...]:
    return (
        pod.id if whole else truncated(pod.id),
        f"{human_duration(now - pod.created_at / 1e9)} ago",
        listing.POD_WORDS.get(pod.state, "Unknown"),
        pod.metadata.name,
        pod.metadata.namespace,
        str(pod.metadata.attempt),
        pod.runtime_handler or "(default)",
    )


def _paragraph(pod: pb.PodSandbox) -> None:
    print(f"ID: {pod.id}")
    print(f"Name: {pod.metadata.name}")
    print(f"UID: {pod.metadata.uid}")
    print(f"Namespace: {pod.metadata.namespace}")
    if pod.metadata.attempt:
        print(f"Attempt: {pod.metadata.attempt}")
    print(f"Status: {listing.POD_WORDS.get(pod.state, 'Unknown')}")
    print(f"Created: {render.timestamp_words(pod.created_at)}")
    render.show_map("Labels", pod.labels)
    render.show_map("Annotations", pod.annotations)
    print(f"Runtime: {pod.runtime_handler or '(default)'}\n")
