"""crioctl ps"""

from __future__ import annotations

import argparse
import time

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import listing, render, table
from crio.cli.crioctl.arguments import add_container_filters, add_output
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_duration, truncated

HEADER = ("CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="containers in every state, not only running ones")
    parser.add_argument("--id", metavar="CONTAINER", default="", help="only this container (id or name)")
    add_container_filters(parser)
    parser.add_argument("--no-trunc", action="store_true", help="whole ids")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("-v", "--verbose", action="store_true", help="everything, in paragraphs")
    parser.add_argument("-r", "--resolve-image-path", action="store_true", help="the image's name instead of its id")
    add_output(parser, "table")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    found = await listing.containers(session, args)
    if not render.is_table(args.output):
        render.write(render.to_plain(pb.ListContainersResponse(containers=found)), args.output, args.template)
        return 0
    if args.quiet:
        for container in found:
            print(container.id)
    elif args.verbose:
        for container in found:
            _paragraph(container)
    else:
        pods = await _pods(session, found)
        images = await _image_names(session, found) if args.resolve_image_path else {}
        now = time.time()
        table.show([HEADER, *(_row(each, now, pods, images, whole=args.no_trunc) for each in found)])
    return 0


async def _pods(session: Session, found: list[pb.Container]) -> dict[str, pb.PodSandboxMetadata]:
    """Names of pods whose containers do not carry the kubelet's labels."""
    if all(listing.pod_name(each) != "unknown" for each in found):
        return {}
    response = await session.runtime.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)
    return {pod.id: pod.metadata for pod in response.items}


async def _image_names(session: Session, found: list[pb.Container]) -> dict[str, str]:
    names: dict[str, str] = {}
    for image in {each.image.image for each in found}:
        status = await listing.image_status(session, image)
        names[image] = status.image.repo_tags[0] if status.image.repo_tags else image
    return names


def _row(
    item: pb.Container, now: float, pods: dict[str, pb.PodSandboxMetadata], images: dict[str, str], *, whole: bool
) -> tuple[str, ...]:
    image = images.get(item.image.image, item.image.image)
    if not whole and image.startswith(("sha256:", "sha512:")):
        image = truncated(image.partition(":")[2])
    elif not whole and len(image) == 64 and image not in images.values():
        image = truncated(image)
    pod, namespace = listing.pod_name(item), listing.pod_namespace(item)
    if pod == "unknown" and (metadata := pods.get(item.pod_sandbox_id)) is not None:
        pod, namespace = metadata.name, metadata.namespace
    return (
        item.id if whole else truncated(item.id),
        image,
        f"{human_duration(now - item.created_at / 1e9)} ago",
        listing.CONTAINER_WORDS.get(item.state, "Unknown"),
        item.metadata.name,
        str(item.metadata.attempt),
        item.pod_sandbox_id if whole else truncated(item.pod_sandbox_id),
        pod,
        namespace,
    )


def _paragraph(item: pb.Container) -> None:
    print(f"ID: {item.id}")
    print(f"PodID: {item.pod_sandbox_id}")
    print(f"Namespace: {listing.pod_namespace(item)}")
    print(f"Name: {item.metadata.name}")
    print(f"Attempt: {item.metadata.attempt}")
    print(f"State: {listing.CONTAINER_WORDS.get(item.state, 'Unknown')}")
    print(f"Image: {item.image.image}")
    print(f"Created: {human_duration(time.time() - item.created_at / 1e9)} ago")
    render.show_map("Labels", item.labels)
    render.show_map("Annotations", item.annotations)
    print()
