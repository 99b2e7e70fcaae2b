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
    # Each look into a message costs as much as all the rest for one sandbox.
    prefix, labels = wanted.id, dict(wanted.label_selector)
    ready = wanted.state.state == pb.SANDBOX_READY if wanted.HasField("state") else None
    for sandbox in manager:
        if prefix and not sandbox.id.startswith(prefix):
            continue
        if ready is not None and sandbox.ready != ready:
            continue
        if not labels or labels_match(sandbox.config.labels, labels):
            yield sandbox


def containers(manager: ContainerManager, wanted: pb.ContainerFilter) -> Iterator[Container]:
    """The containers that the filter selects, as `sandboxes`."""
    state = wanted.state.state if wanted.HasField("state") else None
    for container in _selected(manager, wanted):
        if state is None or state == container.state.value:
            yield container


def containers_for_stats(manager: ContainerManager, wanted: pb.ContainerStatsFilter) -> list[Container]:
    """The containers that have figures to show, and that the filter selects."""
    return [container for container in _selected(manager, wanted) if container.running]


def sandboxes_for_stats(manager: SandboxManager, wanted: pb.PodSandboxStatsFilter) -> list[Sandbox]:
    prefix, labels = wanted.id, dict(wanted.label_selector)
    return [
        sandbox
        for sandbox in manager
        if sandbox.ready
        and sandbox.id.startswith(prefix)
        and (not labels or labels_match(sandbox.config.labels, labels))
    ]


def _selected(manager: ContainerManager, wanted: pb.ContainerFilter | pb.ContainerStatsFilter) -> Iterator[Container]:
    """By id, pod and labels."""
    prefix, sandbox_id, labels = wanted.id, wanted.pod_sandbox_id, dict(wanted.label_selector)
    if not (prefix or sandbox_id or labels):
        yield from manager
        return
    for container in manager:
        if (
            container.id.startswith(prefix)
            and container.record.sandbox_id.startswith(sandbox_id)
            and (not labels or labels_match(container.config.labels, labels))
        ):
            yield container


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
