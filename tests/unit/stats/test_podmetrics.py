"""Pod metrics of containers whose processes are sleeps."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.conmon.exitrecord import ExitRecord
from crio.stats import layers as layers_module
from crio.stats import podmetrics as podmetrics_module
from crio.stats.descriptors import BASE_LABELS, DESCRIPTORS, chosen
from stats_bed import Bed

pytestmark = pytest.mark.root


@pytest.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    monkeypatch.setattr(layers_module, "_PATIENCE", 60.0)
    bed = Bed(tmp_path)
    yield bed
    await bed.close()


async def told(bed: Bed) -> dict[str, pb.PodSandboxMetrics]:
    found = await bed.metrics.sandboxes(bed.node.sandboxes)
    return {each.pod_sandbox_id: each for each in map(pb.PodSandboxMetrics.FromString, found)}


async def test_every_group(bed: Bed) -> None:
    sandbox = bed.pod(namespaces={"net": "/proc/self/ns/net"})
    container = bed.container(0xC1)
    before = time.time_ns()
    pod = (await told(bed))[sandbox.id]
    (mine,) = pod.container_metrics
    assert mine.container_id == container.id
    for metric in [*pod.metrics, *mine.metrics]:
        descriptor = DESCRIPTORS[metric.name]
        assert metric.metric_type == (pb.COUNTER if descriptor.counter else pb.GAUGE)
        assert len(metric.label_values) == len(BASE_LABELS) + len(descriptor.labels)
        assert before <= metric.timestamp <= time.time_ns()
    assert {DESCRIPTORS[metric.name].group for metric in pod.metrics} <= {"network"}
    assert all(list(metric.label_values)[:1] == [container.id] for metric in mine.metrics)
    values = {metric.name: metric.value.value for metric in mine.metrics}
    assert values["container_processes"] == 1
    assert values["container_file_descriptors"] >= 3
    assert values["container_ulimits_soft"] > 0
    assert values["container_memory_usage_bytes"] > 0
    assert values["container_fs_usage_bytes"] == 4096
    assert values["container_last_seen"] >= before // 1_000_000_000
    assert {"container_cpu_usage_seconds_total", "container_oom_events_total", "container_spec_cpu_shares"} <= set(
        values
    )


async def test_only_the_groups_that_are_included(bed: Bed) -> None:
    sandbox = bed.pod(namespaces={"net": "/proc/self/ns/net"})
    bed.container(0xC1)
    bed.groups = ("cpu", "oom")
    pod = (await told(bed))[sandbox.id]
    assert not pod.metrics
    assert {metric.name for metric in pod.container_metrics[0].metrics} == {each.name for each in chosen(bed.groups)}
    bed.groups = ()
    (only,) = (await told(bed))[sandbox.id].container_metrics[0].metrics
    assert only.name == "container_last_seen"


async def test_all_pods_and_their_running_containers(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podmetrics_module, "_BATCH", 2)
    pods = [bed.pod(number) for number in range(1, 4)]
    running, ended = bed.container(0xC1, 1), bed.container(0xC2, 1)
    other = bed.container(0xC3, 3)
    ended.exit = ExitRecord(exit_code=0, finished_at_ns=1)
    found = await told(bed)
    ids = {pod: [each.container_id for each in metrics.container_metrics] for pod, metrics in found.items()}
    assert ids == {pods[0].id: [running.id], pods[1].id: [], pods[2].id: [other.id]}
