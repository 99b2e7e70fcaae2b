"""crioctl inspectp"""

from __future__ import annotations

import argparse
from typing import Any

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import NotFound
from crio.cli.crioctl import listing, names, render
from crio.cli.crioctl.arguments import add_output, add_pod_filters
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    add_pod_filters(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="without the verbose information")
    add_output(parser, "json")
    parser.add_argument("pods", metavar="POD", nargs="*", help="id or name; without one, all that pass the filters")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    if args.pods:
        ids = await names.pod_ids(session, args.pods)
    else:
        ids = [pod.id for pod in await listing.pods(session, args)]
    if not ids:
        raise NotFound("cannot inspect pods: none was named, or none passes the filters")
    documents: list[dict[str, Any]] = []
    for pod in ids:
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=pod, verbose=not args.quiet)
        response = await session.runtime.call("PodSandboxStatus", request, pb.PodSandboxStatusResponse)
        if args.output == "table":
            _show(response, verbose=not args.quiet)
            continue
        status = render.with_all_fields(response.status, render.to_plain(response.status))
        status["createdAt"] = render.timestamp(response.status.created_at)
        documents.append(render.status_document(status, response.info))
    if documents:
        render.write(render.single_or_list(documents), args.output, args.template, sort_keys=True)
    return 0


def _show(response: pb.PodSandboxStatusResponse, *, verbose: bool) -> None:
    status = response.status
    print(f"ID: {status.id}")
    print(f"Name: {status.metadata.name}")
    print(f"UID: {status.metadata.uid}")
    print(f"Namespace: {status.metadata.namespace}")
    print(f"Attempt: {status.metadata.attempt}")
    print(f"Status: {pb.PodSandboxState.Name(status.state)}")
    print(f"Created: {render.timestamp_words(status.created_at)}")
    if status.HasField("network"):
        print(f"IP Addresses: {status.network.ip}")
        for address in status.network.additional_ips:
            print(f"Additional IP: {address.ip}")
    render.show_map("Labels", status.labels)
    render.show_map("Annotations", status.annotations)
    if verbose:
        render.show_info(response.info)
