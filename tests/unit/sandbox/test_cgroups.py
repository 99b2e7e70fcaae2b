"""Where pods stand in the control groups."""

from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.sandbox.cgroups import cgroup_parent, expand_slice, group_path, parent_path, runtime_path, unit_names


def test_cgroupfs() -> None:
    assert cgroup_parent("", "cgroupfs") == "/crio"
    assert cgroup_parent("kubepods/burstable/pod1", "cgroupfs") == "/kubepods/burstable/pod1"
    assert group_path("/kubepods/pod1", "crio-1") == "/kubepods/pod1/crio-1"


def test_systemd() -> None:
    assert cgroup_parent("", "systemd") == "system.slice"
    parent = cgroup_parent("/kubepods.slice/kubepods-pod1.slice", "systemd")
    assert parent == "kubepods-pod1.slice"
    assert parent_path(parent) == "/kubepods.slice/kubepods-pod1.slice"
    assert group_path(parent, "crio-1") == "/kubepods.slice/kubepods-pod1.slice/crio-1.scope"


def test_slices() -> None:
    assert expand_slice("-.slice") == "/"
    assert expand_slice("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"


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
def test_forms_for_runtimes(parent: str, manager: str, expected: str) -> None:
    assert runtime_path(parent, "ID", manager) == expected


@pytest.mark.parametrize(
    ("parent", "manager"),
    [
        ("kubepods.slice", "cgroupfs"),
        ("/kubepods/pod1", "systemd"),
        ("/a/../../b", "cgroupfs"),
        ("/a\nb", "cgroupfs"),
        ("-a.slice", "systemd"),
        ("a--b.slice", "systemd"),
        ("a-.slice", "systemd"),
        (".slice", "systemd"),
        ("a b.slice", "systemd"),
    ],
)
def test_forms_that_do_not_fit(parent: str, manager: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot use cgroup parent"):
        cgroup_parent(parent, manager)


def test_the_names_of_what_belongs_to_an_id() -> None:
    names = unit_names("1")
    for parent in ("/a", "a.slice"):
        for unit in ("crio-1", "crio-conmon-1"):
            assert group_path(parent, unit).rpartition("/")[2] in names
