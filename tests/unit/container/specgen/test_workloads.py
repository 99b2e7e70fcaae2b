from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.config.tables.handler import Resources as Defaults
from crio.config.tables.handler import Workload
from crio.container.specgen.workloads import apply_workload
from crio.spec.oci_runtime import Cpu, Resources
from spec_input import plain_host

WORKLOADS = {
    "management": Workload(
        activation_annotation="target.workload/management",
        annotation_prefix="resources.workload",
        resources=Defaults(cpushares=10, cpuset="0-1"),
    )
}
ACTIVE = {"target.workload/management": ""}


def applied(annotations: dict[str, str], start: Cpu | None = None) -> Cpu | None:
    made = Resources(cpu=start)
    apply_workload(made, WORKLOADS, annotations, "app", plain_host())
    return made.cpu


def test_only_for_active_pods() -> None:
    assert applied({}) is None
    assert applied(ACTIVE) == Cpu(shares=10, cpus="0-1")


def test_override_of_one_container() -> None:
    own = {**ACTIVE, "resources.workload/app": '{"cpushares": 20, "cpulimit": 500}'}
    assert applied(own, Cpu(shares=2, mems="0")) == Cpu(shares=20, quota=50_000, cpus="0-1", mems="0")
    other = {**ACTIVE, "resources.workload/other": '{"cpushares": 20}'}
    assert applied(other) == Cpu(shares=10, cpus="0-1")


@pytest.mark.parametrize(
    "text",
    ["no", "[]", '{"cpushares": "x"}', '{"cpushares": -5}', '{"cpuset": "../x"}', '{"cpuperiod": 5}', '{"x": 1}'],
)
def test_malformed_override_fails_the_request(text: str) -> None:
    with pytest.raises(InvalidArgument):
        applied({**ACTIVE, "resources.workload/app": text})
