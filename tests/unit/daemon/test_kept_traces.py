from __future__ import annotations

import pytest

from crio.daemon.kept_traces import traces_about
from crio.telemetry.trace import Tracer


@pytest.fixture
def tracer() -> Tracer:
    """Two pods: one by its name and id, with a container; and questions, which are not kept."""
    tracer = Tracer()
    with tracer.span("Run", pod_name="web", namespace="shop") as span:
        span.set(pod="aa11")
        tracer.record("Run: network", 0.0)
    with tracer.span("Create", pod="aa11", container_name="nginx") as span:
        span.set(container="cc33")
    with tracer.span("Start", container="cc33"):
        pass
    with tracer.span("Run", pod_name="other") as span:
        span.set(pod="bb22")
    with tracer.span("Stop", pod="bb22"):
        pass
    with tracer.span("Status", keep=False, pod="aa11"):
        tracer.record("part", 0.0)
    return tracer


def names(tracer: Tracer, subject: str) -> list[str]:
    return [trace[0].name for trace in traces_about(tracer, subject)]


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("web", ["Run", "Create", "Start"]),
        ("aa", ["Run", "Create", "Start"]),
        ("nginx", ["Create"]),
        ("cc33", ["Create", "Start"]),
        ("other", ["Run", "Stop"]),
        ("nothing", []),
        ("", []),
    ],
)
def test_a_pods_calls_are_found_however_they_name_it(tracer: Tracer, subject: str, expected: list[str]) -> None:
    assert names(tracer, subject) == expected


def test_a_trace_has_its_parts(tracer: Tracer) -> None:
    assert [span.name for span in traces_about(tracer, "web")[0]] == ["Run", "Run: network"]
