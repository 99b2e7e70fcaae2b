"""SELinux labels of pods; nothing here needs a kernel with SELinux."""

from __future__ import annotations

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.linux import selinux
from crio.sandbox.labels import PodLabels
from crio.security.selinux import Labels, parse


def config(**options: int) -> pb.PodSandboxConfig:
    made = pb.PodSandboxConfig()
    made.linux.security_context.namespace_options.MergeFrom(pb.NamespaceOption(**options))  # type: ignore[arg-type]
    return made


def make(labels: PodLabels, wanted: pb.PodSandboxConfig, *, unconfined: bool = True) -> Labels:
    return labels.make(wanted, unconfined_on_host_network=unconfined)


def test_each_pod_has_categories_of_its_own() -> None:
    labels = PodLabels(enabled=True)
    pods = [make(labels, config()) for _ in range(50)]
    assert len({parse(pod.process).level for pod in pods}) == 50
    assert all(parse(pod.process).level == parse(pod.mount).level for pod in pods)


def test_without_selinux_there_are_none() -> None:
    labels = PodLabels(enabled=False)
    assert make(labels, config()) == Labels("", "")
    assert labels.of_container(Labels(), pb.LinuxContainerSecurityContext()) == Labels("", "")
    assert labels.of_init(Labels()) == ""


def test_pods_that_are_not_confined() -> None:
    labels = PodLabels(enabled=True)
    privileged = config()
    privileged.linux.security_context.privileged = True
    for wanted in (privileged, config(pid=pb.NODE), config(ipc=pb.NODE)):
        assert make(labels, wanted) == Labels("", "")
    on_host = make(labels, config(network=pb.NODE))
    assert on_host.process == ""
    assert on_host.mount != ""
    assert make(labels, config(network=pb.NODE), unconfined=False).process != ""


def test_labels_of_containers() -> None:
    labels = PodLabels(enabled=True)
    pod = make(labels, config())
    context = pb.LinuxContainerSecurityContext()
    assert labels.of_container(pod, context) == pod
    context.selinux_options.type = "other_t"
    own = labels.of_container(pod, context)
    assert parse(own.process).type == "other_t"
    assert parse(own.process).level == parse(pod.process).level
    assert own.mount == pod.mount
    assert parse(labels.of_init(pod)).level == parse(pod.process).level
    context.privileged = True
    assert labels.of_container(pod, context) == Labels("", pod.mount)


def test_categories_are_kept_over_a_restart_and_given_back() -> None:
    labels = PodLabels(enabled=True)
    wanted = config()
    wanted.linux.security_context.selinux_options.level = "s0:c1,c2"
    pod = make(labels, wanted)
    later = PodLabels(enabled=True)
    later.reserve(pod)
    later.release(pod)
    later.release(pod)
    later.release(Labels())
    assert parse(make(later, wanted).process).level == "s0:c1,c2"


def test_what_the_policy_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = PodLabels(enabled=True)
    pod = make(labels, config())
    monkeypatch.setattr(selinux, "knows", lambda label: False)
    wanted = config()
    wanted.linux.security_context.selinux_options.type = "no_such_t"
    with pytest.raises(InvalidArgument, match=r"no_such_t.*policy does not have it"):
        make(labels, wanted)
    context = pb.LinuxContainerSecurityContext(selinux_options=wanted.linux.security_context.selinux_options)
    with pytest.raises(InvalidArgument, match=r"no_such_t.*policy does not have it"):
        labels.of_container(pod, context)
    assert make(labels, config()).process, "the policy's own labels are not asked about"
