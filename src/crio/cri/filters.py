"""The selectors of the List and Stream calls: all parts given must hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from crio.api.runtime.v1 import api_pb2 as pb
from crio.container.container import Container
from crio.container.manager import ContainerManager
from crio.sandbox.manager import SandboxManager
from crio.sandbox.sandbox import Sandbox

T = TypeVar("T")


def labels_match(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def sandboxes(manager: SandboxManager, wanted: pb.PodSandboxFilter) -> Iterator[Sandbox]:
    """The sandboxes that the filter selects; an id may be a prefix, and an unknown one selects nothing."""
    for sandbox in manager:
        if wanted.id and not sandbox.id.startswith(wanted.id):
            continue
        if wanted.HasField("state") and (wanted.state.state == pb.SANDBOX_READY) != sandbox.ready:
            continue
        if not labels_match(sandbox.config.labels, wanted.label_selector):
            continue
        yield sandbox


def containers(manager: ContainerManager, wanted: pb.ContainerFilter) -> Iterator[Container]:
    """The containers that the filter selects, as `sandboxes`."""
    for container in manager:
        if wanted.HasField("state") and wanted.state.state != container.state.value:
            continue
        if _selected(container, wanted.id, wanted.pod_sandbox_id, wanted.label_selector):
            yield container


def containers_for_stats(manager: ContainerManager, wanted: pb.ContainerStatsFilter) -> list[Container]:
    """The containers that have figures to show, and that the filter selects."""
    return [
        container
        for container in manager
        if container.running and _selected(container, wanted.id, wanted.pod_sandbox_id, wanted.label_selector)
    ]


def sandboxes_for_stats(manager: SandboxManager, wanted: pb.PodSandboxStatsFilter) -> list[Sandbox]:
    return [
        sandbox
        for sandbox in manager
        if sandbox.ready
        and sandbox.id.startswith(wanted.id)
        and labels_match(sandbox.config.labels, wanted.label_selector)
    ]


def _selected(container: Container, container_id: str, sandbox_id: str, selector: Mapping[str, str]) -> bool:
    return (
        container.id.startswith(container_id)
        and container.record.sandbox_id.startswith(sandbox_id)
        and labels_match(container.config.labels, selector)
    )


BATCH = 1000
"""Items in one message of a Stream call."""


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists of at most BATCH; none for no items."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
