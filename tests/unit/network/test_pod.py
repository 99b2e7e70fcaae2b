from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.network.pod import Bandwidth, PodNetwork, PortMapping, capability_arguments, cni_arguments


def _pod(**more: object) -> PodNetwork:
    return PodNetwork("id", "ns", "name", "uid", "/run/netns/id", **more)  # type: ignore[arg-type]


def test_arguments_are_those_of_kubernetes() -> None:
    assert cni_arguments(_pod()) == [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", "ns"),
        ("K8S_POD_NAME", "name"),
        ("K8S_POD_INFRA_CONTAINER_ID", "id"),
        ("K8S_POD_UID", "uid"),
    ]


@pytest.mark.parametrize("name", ["a;IP=1.2.3.4", "a=b", "a\nb", "a\0"])
def test_a_name_can_not_add_arguments(name: str) -> None:
    with pytest.raises(InvalidArgument, match="K8S_POD_NAME"):
        cni_arguments(PodNetwork("id", "ns", name, "uid", ""))


def test_a_plain_pod_asks_for_no_capability() -> None:
    assert capability_arguments(_pod()) == {}


def test_capabilities() -> None:
    annotations = {"kubernetes.io/ingress-bandwidth": "1M", "other": "x"}
    pod = _pod(
        port_mappings=(PortMapping("tcp", 80, 8080, "127.0.0.1"),),
        annotations=annotations,
        cgroup_path="/kubepods/x",
        ip_ranges=(({"subnet": "10.0.0.0/24"},),),
    )
    assert capability_arguments(pod) == {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}],
        "bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 34359738359, "egressRate": 0, "egressBurst": 0},
        "ipRanges": [[{"subnet": "10.0.0.0/24"}]],
        "cgroupPath": "/kubepods/x",
        "io.kubernetes.cri.pod-annotations": annotations,
    }


def test_an_explicit_bandwidth_wins() -> None:
    pod = _pod(bandwidth=Bandwidth(egress=5000), annotations={"kubernetes.io/egress-bandwidth": "9k"})
    assert capability_arguments(pod)["bandwidth"]["egressRate"] == 5000


@pytest.mark.parametrize("text", ["fast", "10", "-1M", "9E"])
def test_a_bandwidth_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="egress-bandwidth"):
        capability_arguments(_pod(annotations={"kubernetes.io/egress-bandwidth": text}))
