"""Pods and containers by whatever a person calls them: id, the beginning of an id, or a name.

A pod is `NAME` or `NAMESPACE/NAME`, a container `NAME`, `POD/NAME` or `NAMESPACE/POD/NAME`. An id goes before a name.
Of several with one name, the only one that runs is meant, else the only one that is left after older attempts of the
same pod or container are put aside; if that leaves no single one, the error lists them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument, NotFound
from crio.base.ids import is_full_id
from crio.cli.crioctl.session import Session
from crio.cli.crioctl.units import truncated

Item = TypeVar("Item", pb.Container, pb.PodSandbox)

POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"


async def container_id(session: Session, text: str) -> str:
    """The full id of a container. NotFound if there is none, InvalidArgument if several are meant."""
    return (await container_ids(session, [text]))[0]


async def container_ids(session: Session, texts: Sequence[str]) -> list[str]:
    """As `container_id` for several at once, with one look at the runtime."""
    if all(map(is_full_id, texts)):
        return list(texts)
    response, pods = await asyncio.gather(
        session.runtime.call("ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse),
        session.runtime.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)
        if any("/" in text for text in texts)
        else _no_pods(),
    )
    pod_names = {pod.id: (pod.metadata.namespace, pod.metadata.name) for pod in pods.items}

    def path(item: pb.Container) -> tuple[str, ...]:
        labels = item.labels
        fallback = (labels.get(POD_NAMESPACE_LABEL, ""), labels.get(POD_NAME_LABEL, ""))
        return (*pod_names.get(item.pod_sandbox_id, fallback), item.metadata.name)

    def running(item: pb.Container) -> bool:
        return item.state == pb.CONTAINER_RUNNING

    return [_choose("container", text, list(response.containers), path, running) for text in texts]


async def _no_pods() -> pb.ListPodSandboxResponse:
    return pb.ListPodSandboxResponse()


async def pod_id(session: Session, text: str) -> str:
    """The full id of a pod. NotFound if there is none, InvalidArgument if several are meant."""
    return (await pod_ids(session, [text]))[0]


async def pod_ids(session: Session, texts: Sequence[str]) -> list[str]:
    """As `pod_id` for several at once."""
    if all(map(is_full_id, texts)):
        return list(texts)
    response = await session.runtime.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)

    def path(item: pb.PodSandbox) -> tuple[str, ...]:
        return item.metadata.namespace, item.metadata.name

    def running(item: pb.PodSandbox) -> bool:
        return item.state == pb.SANDBOX_READY

    return [_choose("pod", text, list(response.items), path, running) for text in texts]


def _choose(
    kind: str,
    text: str,
    items: Sequence[Item],
    path: Callable[[Item], tuple[str, ...]],
    running: Callable[[Item], bool],
) -> str:
    if not text:
        raise InvalidArgument(f"cannot look up {kind}: the id is empty")
    by_id = [item for item in items if item.id.startswith(text)]
    if len(by_id) == 1 or is_full_id(text):
        return by_id[0].id if by_id else text
    wanted = tuple(text.split("/"))
    by_name = [item for item in items if path(item)[-len(wanted) :] == wanted]
    candidates = by_name or by_id
    if not candidates:
        raise NotFound(f"cannot find {kind} {text!r}: no id starts with it and no name is equal to it")
    alive = [item for item in candidates if running(item)]
    for narrow in (candidates, alive, _newest_attempts(candidates, path)):
        if len(narrow) == 1:
            return narrow[0].id
    shown = ", ".join(f"{truncated(item.id)} ({'/'.join(filter(None, path(item)))})" for item in candidates[:8])
    raise InvalidArgument(f"cannot tell which {kind} is meant by {text!r}: it may be {shown}")


def _newest_attempts(items: Sequence[Any], path: Callable[[Any], tuple[str, ...]]) -> list[Any]:
    """The last attempt of each pod, or of each container of a pod."""
    last = {}
    for item in sorted(items, key=lambda each: (each.metadata.attempt, each.created_at)):
        last[(*path(item), getattr(item, "pod_sandbox_id", ""))] = item
    return list(last.values())
