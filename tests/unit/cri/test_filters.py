"""The selectors of lists: what is given must hold together."""

from __future__ import annotations

from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.conmon.exitrecord import ExitRecord
from crio.cri import filters
from small_node import SmallNode, make_container, make_sandbox

READY = pb.PodSandboxStateValue(state=pb.SANDBOX_READY)
STOPPED = pb.PodSandboxStateValue(state=pb.SANDBOX_NOTREADY)


@pytest.fixture
def small(tmp_path: Path) -> SmallNode:
    small = SmallNode(tmp_path)
    small.add_sandbox(make_sandbox(0x11, labels={"app": "web", "tier": "front"}))
    small.add_sandbox(make_sandbox(0x12, labels={"app": "web"}, stopped_at=5))
    small.add_sandbox(make_sandbox(0x21, labels={"app": "db"}))
    small.add_container(make_container(0xC1, 0x11, labels={"app": "web"}))
    small.add_container(make_container(0xC2, 0x11, started_at=3))
    small.add_container(make_container(0xD1, 0x21, ended=ExitRecord(0, finished_at_ns=9), started_at=3))
    return small


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (pb.PodSandboxFilter(), [0x11, 0x12, 0x21]),
        (pb.PodSandboxFilter(id="1"), [0x11, 0x12]),
        (pb.PodSandboxFilter(id="12" * 32), [0x12]),
        (pb.PodSandboxFilter(id="ff"), []),
        (pb.PodSandboxFilter(state=READY), [0x11, 0x21]),
        (pb.PodSandboxFilter(state=STOPPED), [0x12]),
        (pb.PodSandboxFilter(label_selector={"app": "web"}), [0x11, 0x12]),
        (pb.PodSandboxFilter(label_selector={"app": "web", "tier": "front"}), [0x11]),
        (pb.PodSandboxFilter(label_selector={"app": "web", "tier": ""}), []),
        (pb.PodSandboxFilter(label_selector={"app": "web"}, state=READY, id="11"), [0x11]),
        (pb.PodSandboxFilter(label_selector={"app": "db"}, id="11"), []),
    ],
)
def test_sandboxes(small: SmallNode, wanted: pb.PodSandboxFilter, found: list[int]) -> None:
    assert [int(item.id[:2], 16) for item in filters.sandboxes(small.sandboxes, wanted)] == found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (pb.ContainerFilter(), [0xC1, 0xC2, 0xD1]),
        (pb.ContainerFilter(id="c"), [0xC1, 0xC2]),
        (pb.ContainerFilter(pod_sandbox_id="11" * 32), [0xC1, 0xC2]),
        (pb.ContainerFilter(pod_sandbox_id="2"), [0xD1]),
        (pb.ContainerFilter(state=pb.ContainerStateValue(state=pb.CONTAINER_CREATED)), [0xC1]),
        (pb.ContainerFilter(state=pb.ContainerStateValue(state=pb.CONTAINER_RUNNING)), [0xC2]),
        (pb.ContainerFilter(state=pb.ContainerStateValue(state=pb.CONTAINER_EXITED)), [0xD1]),
        (pb.ContainerFilter(state=pb.ContainerStateValue(state=pb.CONTAINER_UNKNOWN)), []),
        (pb.ContainerFilter(label_selector={"app": "web"}), [0xC1]),
        (pb.ContainerFilter(label_selector={"app": "web"}, id="d"), []),
    ],
)
def test_containers(small: SmallNode, wanted: pb.ContainerFilter, found: list[int]) -> None:
    assert [int(item.id[:2], 16) for item in filters.containers(small.containers, wanted)] == found


def test_only_what_runs_has_figures(small: SmallNode) -> None:
    running = filters.containers_for_stats(small.containers, pb.ContainerStatsFilter())
    assert [item.record.id[:2] for item in running] == ["c2"]
    assert filters.containers_for_stats(small.containers, pb.ContainerStatsFilter(pod_sandbox_id="21")) == []
    ready = filters.sandboxes_for_stats(small.sandboxes, pb.PodSandboxStatsFilter())
    assert [item.record.id[:2] for item in ready] == ["11", "21"]
    chosen = pb.PodSandboxStatsFilter(id="2", label_selector={"app": "db"})
    assert [item.record.id[:2] for item in filters.sandboxes_for_stats(small.sandboxes, chosen)] == ["21"]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (0, []),
        (1, [1]),
        (filters.BATCH, [filters.BATCH]),
        (2 * filters.BATCH + 1, [filters.BATCH, filters.BATCH, 1]),
    ],
)
def test_batches(count: int, sizes: list[int]) -> None:
    found = list(filters.batches(range(count)))
    assert [len(batch) for batch in found] == sizes
    assert [item for batch in found for item in batch] == list(range(count))
