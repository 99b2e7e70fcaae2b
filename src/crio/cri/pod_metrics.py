"""ListMetricDescriptors, ListPodSandboxMetrics and StreamPodSandboxMetrics."""

from __future__ import annotations

from collections.abc import AsyncIterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.protobuf import repeated
from crio.cri.node import Node
from crio.rpc.service import Context
from crio.sandbox.sandbox import Sandbox
from crio.stats.descriptors import chosen

_PODS = 64
"""In one message of the Stream call."""


async def list_metric_descriptors(
    node: Node, request: pb.ListMetricDescriptorsRequest, context: Context
) -> pb.ListMetricDescriptorsResponse:
    return pb.ListMetricDescriptorsResponse(descriptors=[each.message() for each in chosen(node.pod_metrics.groups())])


async def list_pod_sandbox_metrics(node: Node, request: pb.ListPodSandboxMetricsRequest, context: Context) -> bytes:
    return repeated(1, await node.pod_metrics.sandboxes(_ready(node)))


async def stream_pod_sandbox_metrics(
    node: Node, request: pb.StreamPodSandboxMetricsRequest, context: Context
) -> AsyncIterator[bytes]:
    ready = _ready(node)
    # A node's metrics are megabytes: those of some pods are told before those of the next are read.
    for start in range(0, len(ready), _PODS):
        if batch := await node.pod_metrics.sandboxes(ready[start : start + _PODS]):
            yield repeated(1, batch)


def _ready(node: Node) -> list[Sandbox]:
    return [sandbox for sandbox in node.sandboxes if sandbox.ready]
