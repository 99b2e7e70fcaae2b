"""A pod as tools find it in the form of a specification."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.sandbox.pod_spec import PREFIX, pod_annotations, pod_spec
from crio.sandbox.sandbox import Sandbox
from small_node import make_sandbox


def pod(**facts: Any) -> Sandbox:
    made = make_sandbox(1, cgroup_parent="/kubepods/pod1", **facts)
    config = made.config
    config.linux.resources.memory_limit_in_bytes = 1 << 30
    config.linux.resources.unified["memory.high"] = "max"
    config.linux.resources.hugepage_limits.add(page_size="2MB", limit=4)
    config.linux.overhead.cpu_shares = 10
    config.linux.sysctls["net.core.somaxconn"] = "1024"
    config.linux.security_context.namespace_options.pid = pb.CONTAINER
    made.record.config = config.SerializeToString()
    return made


def test_namespaces_and_the_control_group() -> None:
    made = pod(namespaces={"net": "/run/netns/1", "user": "/run/userns/1"}, pause_pid=42)
    spec = json.loads(msgspec.json.encode(pod_spec(made)))
    assert spec["hostname"] == "pod1"
    assert spec["linux"]["cgroupsPath"] == f"/kubepods/pod1/crio-{made.id}"
    assert spec["linux"]["sysctl"] == {"net.core.somaxconn": "1024"}
    found = {item["type"]: item["path"] for item in spec["linux"]["namespaces"]}
    assert found == {"network": "/run/netns/1", "user": "/run/userns/1", "pid": "/proc/42/ns/pid"}


def test_a_slice_is_told_as_systemd_has_it() -> None:
    made = make_sandbox(1, cgroup_parent="kubepods-pod1.slice")
    assert pod_spec(made)["linux"].cgroups_path == f"kubepods-pod1.slice:crio:{made.id}"


def test_what_is_noted_in_annotations() -> None:
    found = pod_annotations(pod(ips=["10.0.0.2", "fd00::2"], network_result=b'{"ips":[]}'))
    assert found[PREFIX + "ContainerType"] == "sandbox"
    assert found[PREFIX + "ContainerName"] == "k8s_POD_pod1_default_u1_0"
    assert (found[PREFIX + "IP.0"], found[PREFIX + "IP.1"]) == ("10.0.0.2", "fd00::2")
    assert json.loads(found[PREFIX + "CNIResult"]) == {"ips": []}
    assert json.loads(found[PREFIX + "NamespaceOptions"]) == {"pid": 1}
    assert json.loads(found[PREFIX + "Metadata"]) == {"name": "pod1", "uid": "u1", "namespace": "default"}
    resources = {
        "memory_limit_in_bytes": 1 << 30,
        "unified": {"memory.high": "max"},
        "hugepage_limits": [{"page_size": "2MB", "limit": 4}],
    }
    for name in ("pod-linux-resources.crio.io", PREFIX + "PodLinuxResources"):
        assert json.loads(found[name]) == resources
    for name in ("pod-linux-overhead.crio.io", PREFIX + "PodLinuxOverhead"):
        assert json.loads(found[name]) == {"cpu_shares": 10}


def test_whether_it_has_a_process_of_its_own() -> None:
    assert pod_annotations(pod())["spoofed.crio.io"] == "true"
    assert "spoofed.crio.io" not in pod_annotations(pod(pause_pid=42))


def test_a_pod_cannot_pass_for_another_by_its_own_annotations() -> None:
    made = make_sandbox(1)
    config = made.config
    config.annotations[PREFIX + "SandboxID"] = "another"
    made.record.config = config.SerializeToString()
    assert pod_spec(made)["annotations"][PREFIX + "SandboxID"] == made.id
