"""What this room knows of a pod, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from crio.base.errors import InvalidArgument
from crio.network.quantity import parse_quantity

INTERFACE = "eth0"
"""The name of a pod's interface in its network namespace."""

_INGRESS, _EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
_LEAST_BITS, _MOST_BITS = 1_000, 1_000_000_000_000_000
# Bits that may pass at once over the rate: the most that a token bucket of the kernel holds (4 GiB).
_BURST = ((1 << 32) - 1) * 8 - 1


class PortMapping(msgspec.Struct, frozen=True):
    """A port of the host that leads to one of the pod. `protocol` is tcp, udp or sctp; no `host_ip` means every one."""

    protocol: str
    container_port: int
    host_port: int
    host_ip: str = ""


class Bandwidth(msgspec.Struct, frozen=True):
    """Limits in bits per second, as seen by the pod; 0 is none."""

    ingress: int = 0
    egress: int = 0


class PodNetwork(msgspec.Struct, frozen=True):
    """A pod that is to be attached or detached.

    `netns_path` is the file at which its network namespace is pinned; it may be gone when the pod is detached.
    `bandwidth` None means: by the pod's annotations. `ip_ranges` are range sets for IPAM plug-ins that take them.
    """

    id: str
    namespace: str
    name: str
    uid: str
    netns_path: str
    port_mappings: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth | None = None
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    cgroup_path: str = ""
    ip_ranges: tuple[tuple[Mapping[str, str], ...], ...] = ()

    def describe(self) -> str:
        return f"pod {self.namespace}/{self.name}" if self.name else f"pod {self.id[:12]}"


class NetworkResult(msgspec.Struct, frozen=True):
    """`ips` without prefix length, in the order of the plug-ins; `raw` is the CNI result as JSON."""

    ips: tuple[str, ...]
    raw: bytes
    network_name: str


def bandwidth_of(annotations: Mapping[str, str]) -> Bandwidth | None:
    """The limits that a pod's annotations ask for. Raises InvalidArgument for one that is none."""
    limits = [_limit(key, annotations[key]) if key in annotations else 0 for key in (_INGRESS, _EGRESS)]
    return Bandwidth(*limits) if any(limits) else None


def cni_arguments(pod: PodNetwork) -> list[tuple[str, str]]:
    """The pairs of CNI_ARGS by which plug-ins know the pod."""
    pairs = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", pod.namespace),
        ("K8S_POD_NAME", pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", pod.id),
        ("K8S_POD_UID", pod.uid),
    ]
    for key, value in pairs:
        if any(character in value for character in ";=\0\n"):
            raise InvalidArgument(
                f"cannot attach {pod.describe()[:200]}: {key} has characters that CNI_ARGS cannot hold"
            )
    return pairs


def capability_arguments(pod: PodNetwork) -> dict[str, Any]:
    """What the pod has for each capability; a plug-in gets those that its configuration names."""
    arguments: dict[str, Any] = {}
    if pod.port_mappings:
        arguments["portMappings"] = [
            {
                "hostPort": mapping.host_port,
                "containerPort": mapping.container_port,
                "protocol": mapping.protocol,
                "hostIP": mapping.host_ip,
            }
            for mapping in pod.port_mappings
        ]
    bandwidth = pod.bandwidth or bandwidth_of(pod.annotations)
    if bandwidth is not None:
        arguments["bandwidth"] = {
            "ingressRate": bandwidth.ingress,
            "ingressBurst": _BURST if bandwidth.ingress else 0,
            "egressRate": bandwidth.egress,
            "egressBurst": _BURST if bandwidth.egress else 0,
        }
    if pod.ip_ranges:
        arguments["ipRanges"] = [[dict(entry) for entry in entries] for entries in pod.ip_ranges]
    if pod.cgroup_path:
        arguments["cgroupPath"] = pod.cgroup_path
    if pod.annotations:
        arguments["io.kubernetes.cri.pod-annotations"] = dict(pod.annotations)
    return arguments


def _limit(key: str, text: str) -> int:
    value = parse_quantity(text)
    if value is None or not _LEAST_BITS <= value <= _MOST_BITS:
        raise InvalidArgument(f"cannot use annotation {key}: {text[:40]!r} is not between 1k and 1P bits per second")
    return value
