"""What the network room is told of a pod."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.network.manager import PodNetwork, PortMapping
from crio.sandbox.sandbox import Sandbox

_PROTOCOLS = {pb.TCP: "tcp", pb.UDP: "udp", pb.SCTP: "sctp"}


def pod_network(sandbox: Sandbox, cgroup_path: str) -> PodNetwork:
    """The pod as CNI sees it."""
    config = sandbox.config
    return PodNetwork(
        id=sandbox.id,
        namespace=config.metadata.namespace,
        name=config.metadata.name,
        uid=config.metadata.uid,
        netns_path=sandbox.record.namespaces.get("net", ""),
        port_mappings=tuple(
            PortMapping(_PROTOCOLS[mapping.protocol], mapping.container_port, mapping.host_port, mapping.host_ip)
            for mapping in config.port_mappings
            if mapping.host_port
        ),
        annotations=dict(config.annotations),
        cgroup_path=cgroup_path,
    )
