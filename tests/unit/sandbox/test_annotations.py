from __future__ import annotations

import pytest

from crio.config.tables.handler import Workload
from crio.sandbox.annotations import active_workload, allowed_for, filtered
from crio.spec import annotations as names

NONE: frozenset[str] = frozenset()


def test_ordinary_annotations_pass() -> None:
    given = {"team": "a", "kubectl.kubernetes.io/x": "y", "cdi.k8s.io/z": "v/c=1"}
    assert filtered(given, NONE) == given


@pytest.mark.parametrize(
    "name",
    [
        "org.systemd.property.ExecStopPost",
        "run.oci.hooks.stderr",
        "bundle",
        "org.criu.config",
        "module.wasm.image/variant",
        "io.kubernetes.cri.container-type",
        "devices.crio.io",
        "io.kubernetes.cri-o.Devices",
        "unified-cgroup.crio.io/app",
        "io.kubernetes.cri-o.UnifiedCgroup/app",
        "seccomp-profile.crio.io/POD",
    ],
)
def test_guarded_names_are_dropped(name: str) -> None:
    """CVE-2024-3154, CVE-2023-6476."""
    assert filtered({name: "x", "team": "a"}, NONE) == {"team": "a"}


def test_allowing_one_spelling_allows_both() -> None:
    given = {"devices.crio.io": "1", "io.kubernetes.cri-o.Devices": "2", "umask.crio.io": "3"}
    both = {"devices.crio.io": "1", "io.kubernetes.cri-o.Devices": "2"}
    assert filtered(given, frozenset({"io.kubernetes.cri-o.Devices"})) == both
    assert filtered(given, frozenset({names.DEVICES})) == both


def test_handler_and_workload_allow() -> None:
    workloads = {"rt": Workload(activation_annotation="rt.io", allowed_annotations=(names.UMASK,))}
    assert allowed_for([names.DEVICES], workloads, {}) == {names.DEVICES}
    assert allowed_for([names.DEVICES], workloads, {"rt.io": ""}) == {names.DEVICES, names.UMASK}
    assert active_workload({"x": Workload()}, {"": ""}) is None
