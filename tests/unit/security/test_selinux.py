from __future__ import annotations

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument, ResourceExhausted
from crio.security import selinux
from crio.security.selinux import Context, Labels, McsPairs, PolicyContexts

POLICY = PolicyContexts(
    process=Context("system_u", "system_r", "container_t"),
    file=Context("system_u", "object_r", "container_file_t"),
    kvm=Context("system_u", "system_r", "container_kvm_t"),
    init=Context("system_u", "system_r", "container_init_t"),
)


def test_parse_and_print() -> None:
    label = "system_u:system_r:container_t:s0:c1,c2"
    context = selinux.parse(label)
    assert context.level == "s0:c1,c2"
    assert str(context) == label
    assert selinux.parse("a:b:c").level == "s0"
    assert selinux.parse("a:b:c:s0-s0:c0.c1023").level == "s0-s0:c0.c1023"


@pytest.mark.parametrize("label", ["", "a:b", "a:b:c d:s0", "a:b:c:s0:c1,c2;rm", "a::c:s0", "a:b:c:\n"])
def test_malformed_labels_are_refused(label: str) -> None:
    with pytest.raises(InvalidArgument):
        selinux.parse(label)


def test_each_pod_has_a_pair_of_its_own() -> None:
    pairs = McsPairs()
    levels = {selinux.parse(selinux.pod_labels(pb.SELinuxOption(), pairs, POLICY).process).level for _ in range(500)}
    assert len(levels) == len(pairs) == 500


def test_process_and_files_share_the_level() -> None:
    labels = selinux.pod_labels(pb.SELinuxOption(), McsPairs(), POLICY)
    process, mount = selinux.parse(labels.process), selinux.parse(labels.mount)
    assert process.type == "container_t"
    assert mount.type == "container_file_t"
    assert process.level == mount.level


def test_request_goes_over_the_policy() -> None:
    pairs = McsPairs()
    option = pb.SELinuxOption(user="u", role="r", type="spc_t", level="s0:c4,c5")
    labels = selinux.pod_labels(option, pairs, POLICY)
    assert labels == Labels("u:r:spc_t:s0:c4,c5", "system_u:object_r:container_file_t:s0:c4,c5")
    assert len(pairs) == 1
    with pytest.raises(InvalidArgument):
        selinux.pod_labels(pb.SELinuxOption(type="a b"), pairs, POLICY)


def test_container_over_its_pod() -> None:
    pod = Labels("u:r:container_t:s0:c1,c2", "u:object_r:container_file_t:s0:c1,c2")
    assert selinux.container_labels(pod, pb.SELinuxOption()) == pod
    own = selinux.container_labels(pod, pb.SELinuxOption(type="other_t", level="s0:c3,c4"))
    assert own == Labels("u:r:other_t:s0:c3,c4", "u:object_r:container_file_t:s0:c3,c4")
    assert selinux.container_labels(Labels(), pb.SELinuxOption(type="x")) == Labels()


def test_pairs_are_reserved_after_a_restart_and_counted() -> None:
    pairs = McsPairs(categories=3)
    pairs.reserve("u:r:t:s0:c1,c0")
    pairs.reserve("u:r:t:s0:c0,c1")
    assert {pairs.allocate(), pairs.allocate()} == {"s0:c0,c2", "s0:c1,c2"}
    with pytest.raises(ResourceExhausted):
        pairs.allocate()
    pairs.release("s0:c0,c1")
    with pytest.raises(ResourceExhausted):
        pairs.allocate()
    pairs.release("s0:c0,c1")
    assert pairs.allocate() == "s0:c0,c1"
    pairs.release("u:r:t:s0")


def test_types_of_virtual_machines_and_init() -> None:
    assert selinux.as_type_of("u:r:container_t:s0:c1,c2", POLICY.kvm) == "u:r:container_kvm_t:s0:c1,c2"
    assert selinux.as_type_of("", POLICY.init) == "system_u:system_r:container_init_t:s0"


def test_policy_contexts_have_fallbacks() -> None:
    assert selinux.load_policy_contexts().file.type.endswith("file_t")
