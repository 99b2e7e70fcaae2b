"""ListMetricDescriptors, ListPodSandboxMetrics and StreamPodSandboxMetrics."""

from __future__ import annotations

from collections.abc import AsyncIterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri import filters
from crio.cri.node import Node
from crio.rpc.service import Context
from crio.stats.descriptors import chosen


async def list_metric_descriptors(
    node: Node, request: pb.ListMetricDescriptorsRequest, context: Context
) -> pb.ListMetricDescriptorsResponse:
    return pb.ListMetricDescriptorsResponse(descriptors=[each.message() for each in chosen(node.pod_metrics.groups())])


async def list_pod_sandbox_metrics(
    node: Node, request: pb.ListPodSandboxMetricsRequest, context: Context
) -> pb.ListPodSandboxMetricsResponse:
    ready = [sandbox for sandbox in node.sandboxes if sandbox.ready]
    return pb.ListPodSandboxMetricsResponse(pod_metrics=await node.pod_metrics.sandboxes(ready))


async def stream_pod_sandbox_metrics(
    node: Node, request: pb.StreamPodSandboxMetricsRequest, context: Context
) -> AsyncIterator[pb.StreamPodSandboxMetricsResponse]:
    ready = [sandbox for sandbox in node.sandboxes if sandbox.ready]
    for batch in filters.batches(await node.pod_metrics.sandboxes(ready)):
        yield pb.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=batch)
