from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from crio.base.errors import InvalidArgument
from crio.config.tables.handler import Workload
from crio.config.tables.runtime import Runtime
from crio.container.specgen.draft import draft
from crio.container.specgen.input import SandboxFacts
from crio.spec.oci_runtime import IdMapping
from spec_input import container_config, make_input, pod_config


def test_root_owner_and_groups_of_a_user_namespace(tmp_path: Path) -> None:
    given = make_input(tmp_path)
    assert draft(given).owner == (0, 0)
    assert draft(given).maps_group(5)
    sandbox = SandboxFacts(
        id="a",
        name="p",
        namespaces={"user": "/u"},
        uid_mappings=[IdMapping(0, 7000, 1)],
        gid_mappings=[IdMapping(10, 9000, 5), IdMapping(0, 8000, 5)],
    )
    made = draft(replace(given, sandbox=sandbox))
    assert made.owner == (7000, 8000)
    assert made.host_ids(0, 12) == (7000, 9002)
    assert made.host_ids(1, 99) == (7000, 8000)
    assert draft(given).host_ids(5, 6) == (5, 6)
    assert [made.maps_group(number) for number in (4, 5, 10, 15)] == [True, False, True, False]


def test_privileged_container_in_a_plain_pod(tmp_path: Path) -> None:
    config = container_config()
    config.linux.security_context.privileged = True
    with pytest.raises(InvalidArgument):
        draft(make_input(tmp_path, config=config))


def test_workload_allows_annotations(tmp_path: Path) -> None:
    workloads = {"rt": Workload(activation_annotation="rt", allowed_annotations=("umask.crio.io",))}
    runtime = Runtime(workloads=workloads)
    for asked, expected in (
        ({"umask.crio.io": "1"}, {}),
        ({"umask.crio.io": "1", "rt": ""}, {"umask.crio.io": "1", "rt": ""}),
    ):
        made = draft(make_input(tmp_path, runtime=runtime, sandbox_config=pod_config(annotations=asked)))
        assert made.pod_annotations == expected
