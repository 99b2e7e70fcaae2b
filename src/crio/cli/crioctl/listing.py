"""Which pods and containers a command means by its filters."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Sequence
from typing import TypeVar

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, InvalidArgument
from crio.cli.crioctl import names
from crio.cli.crioctl.session import Session

Item = TypeVar("Item", pb.Container, pb.PodSandbox)

CONTAINER_STATES = {
    "created": pb.CONTAINER_CREATED,
    "running": pb.CONTAINER_RUNNING,
    "exited": pb.CONTAINER_EXITED,
    "unknown": pb.CONTAINER_UNKNOWN,
}
CONTAINER_WORDS = {value: word.title() for word, value in CONTAINER_STATES.items()}
POD_STATES = {"ready": pb.SANDBOX_READY, "notready": pb.SANDBOX_NOTREADY}
POD_WORDS = {pb.SANDBOX_READY: "Ready", pb.SANDBOX_NOTREADY: "NotReady"}


def pattern(option: str, text: str) -> re.Pattern[str] | None:
    """A compiled filter, None for an empty one. Raises InvalidArgument."""
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidArgument(f"cannot use {option} {text!r}: not a regular expression: {error}") from None


async def containers(session: Session, args: argparse.Namespace) -> list[pb.Container]:
    """The containers that pass the filters of `args`, newest first; running ones only, unless it asks for others."""
    by_name, by_namespace = pattern("--name", args.name), pattern("--namespace", getattr(args, "namespace", ""))
    chosen = pb.ContainerFilter(label_selector=dict(args.label))
    if identifier := getattr(args, "id", ""):
        chosen.id = await _or_text(names.container_id(session, identifier), identifier)
    if args.pod:
        chosen.pod_sandbox_id = await _or_text(names.pod_id(session, args.pod), args.pod)
    if not args.latest and not args.last:
        if args.state:
            chosen.state.state = CONTAINER_STATES[args.state]
        elif not getattr(args, "all", False):
            chosen.state.state = pb.CONTAINER_RUNNING
    request = pb.ListContainersRequest(filter=chosen)
    response = await session.runtime.call("ListContainers", request, pb.ListContainersResponse)
    found = [
        item
        for item in response.containers
        if (by_name is None or by_name.search(item.metadata.name))
        and (by_namespace is None or by_namespace.search(pod_namespace(item)))
    ]
    if args.image:
        found = await _made_from(session, found, args.image)
    return newest(found, args)


async def pods(session: Session, args: argparse.Namespace) -> list[pb.PodSandbox]:
    """The pods that pass the filters of `args`, newest first."""
    by_name, by_namespace = pattern("--name", args.name), pattern("--namespace", args.namespace)
    chosen = pb.PodSandboxFilter(label_selector=dict(args.label))
    if identifier := getattr(args, "id", ""):
        chosen.id = await _or_text(names.pod_id(session, identifier), identifier)
    if args.state:
        chosen.state.state = POD_STATES[args.state]
    request = pb.ListPodSandboxRequest(filter=chosen)
    response = await session.runtime.call("ListPodSandbox", request, pb.ListPodSandboxResponse)
    found = [
        item
        for item in response.items
        if (by_name is None or by_name.search(item.metadata.name))
        and (by_namespace is None or by_namespace.search(item.metadata.namespace))
    ]
    return newest(found, args)


def newest(items: Sequence[Item], args: argparse.Namespace) -> list[Item]:
    """Sorted by age, and cut as --latest and --last say."""
    ordered = sorted(items, key=lambda item: item.created_at, reverse=True)
    if args.last > 0:
        return ordered[: args.last]
    return ordered[:1] if args.latest else ordered


def pod_name(item: pb.Container) -> str:
    return item.labels.get(names.POD_NAME_LABEL, "unknown")


def pod_namespace(item: pb.Container) -> str:
    return item.labels.get(names.POD_NAMESPACE_LABEL, "unknown")


async def image_status(session: Session, image: str, *, verbose: bool = False) -> pb.ImageStatusResponse:
    request = pb.ImageStatusRequest(image=pb.ImageSpec(image=image), verbose=verbose)
    return await session.images.call("ImageStatus", request, pb.ImageStatusResponse)


async def _made_from(session: Session, items: Sequence[pb.Container], image: str) -> list[pb.Container]:
    wanted = (await image_status(session, image)).image.id
    if not wanted:
        return []
    references = {item.image_id or item.image.image for item in items}
    statuses = await asyncio.gather(*(image_status(session, reference) for reference in references))
    same = {reference for reference, status in zip(references, statuses, strict=True) if status.image.id == wanted}
    return [item for item in items if (item.image_id or item.image.image) in same]


async def _or_text(lookup: asyncio.Future[str] | object, text: str) -> str:
    """What a filter says exists or not: an unknown one makes an empty list and no error, as in crictl."""
    try:
        return str(await lookup)  # type: ignore[misc]
    except InvalidArgument:
        raise
    except CrioError:
        return text
