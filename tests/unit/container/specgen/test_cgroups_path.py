from __future__ import annotations

import pytest

from crio.container.specgen.cgroups_path import cgroups_path


@pytest.mark.parametrize(
    ("parent", "manager", "expected"),
    [
        ("/kubepods/burstable/pod1", "cgroupfs", "/kubepods/burstable/pod1/crio-ID"),
        ("", "cgroupfs", "/crio/crio-ID"),
        ("kubepods-pod1.slice", "systemd", "kubepods-pod1.slice:crio:ID"),
        ("/kubepods.slice/kubepods-pod1.slice", "systemd", "kubepods-pod1.slice:crio:ID"),
        ("", "systemd", "system.slice:crio:ID"),
    ],
)
def test_forms(parent: str, manager: str, expected: str) -> None:
    assert cgroups_path(parent, "ID", manager) == expected
