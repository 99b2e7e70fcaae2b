"""UpdateRuntimeConfig: the kubelet tells the pod CIDR, which belongs to the CNI plug-in here."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def update_runtime_config(
    node: Node, request: pb.UpdateRuntimeConfigRequest, context: Context
) -> pb.UpdateRuntimeConfigResponse:
    return pb.UpdateRuntimeConfigResponse()
