"""Version: who this is."""

from __future__ import annotations

from crio import __version__
from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context

KUBELET_API_VERSION = "0.1.0"
"""What the kubelet expects of every runtime, since dockershim."""


async def version(node: Node, request: pb.VersionRequest, context: Context) -> pb.VersionResponse:
    return pb.VersionResponse(
        version=KUBELET_API_VERSION, runtime_name="cri-o", runtime_version=__version__, runtime_api_version="v1"
    )
