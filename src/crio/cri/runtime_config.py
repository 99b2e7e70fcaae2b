"""RuntimeConfig: which cgroup driver the kubelet must use as well."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def runtime_config(node: Node, request: pb.RuntimeConfigRequest, context: Context) -> pb.RuntimeConfigResponse:
    systemd = node.config().runtime.cgroup_manager == "systemd"
    return pb.RuntimeConfigResponse(
        linux=pb.LinuxRuntimeConfiguration(cgroup_driver=pb.SYSTEMD if systemd else pb.CGROUPFS)
    )
