"""Metrics as encoded messages are those that the generated code makes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.api.runtime.v1 import api_pb2 as pb
from crio.stats.descriptors import DESCRIPTORS
from crio.stats.metric_messages import Value, metrics, of_container, of_sandbox

BASE = ("id", "image", "namespace", "pod", "container")


@given(st.sampled_from(sorted(DESCRIPTORS)), st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1), st.text())
def test_a_value_as_the_generated_code_has_it(name: str, value: int, now: int, label: str) -> None:
    labels = tuple(label + key for key in DESCRIPTORS[name].labels)
    (metric,) = pb.PodSandboxMetrics.FromString(metrics([Value(name, value, labels)], BASE, now)).metrics
    assert metric == pb.Metric(
        name=name,
        timestamp=now,
        metric_type=pb.COUNTER if DESCRIPTORS[name].counter else pb.GAUGE,
        label_values=[*BASE, *labels],
        value=pb.UInt64Value(value=value),
    )
    assert metric.HasField("value")


def test_labels_must_be_those_of_the_descriptor() -> None:
    with pytest.raises(AssertionError):
        metrics([Value("container_cpu_usage_seconds_total", 1)], BASE, 1)


def test_a_pod_with_containers() -> None:
    container = metrics([Value("container_last_seen", 5), Value("container_memory_rss", 6)], BASE, 1)
    pod = metrics([], BASE, 1)
    message = pb.PodSandboxMetrics.FromString(of_sandbox("p", [pod, of_container("c", container)]))
    assert (message.pod_sandbox_id, list(message.metrics)) == ("p", [])
    (told,) = message.container_metrics
    assert told.container_id == "c"
    assert [(each.name, each.value.value) for each in told.metrics] == [
        ("container_last_seen", 5),
        ("container_memory_rss", 6),
    ]
