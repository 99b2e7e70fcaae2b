"""Which function answers which call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri import (
    container_attach,
    container_checkpoint,
    container_create,
    container_exec,
    container_exec_sync,
    container_list,
    container_remove,
    container_reopen_log,
    container_start,
    container_stats,
    container_status,
    container_stop,
    container_update,
    events,
    image_fs_info,
    image_list,
    image_pull,
    image_remove,
    image_status,
    pod_metrics,
    runtime_config,
    runtime_config_update,
    sandbox_list,
    sandbox_port_forward,
    sandbox_remove,
    sandbox_run,
    sandbox_stats,
    sandbox_status,
    sandbox_stop,
    sandbox_update,
    status,
    version,
)
from crio.cri.node import Node
from crio.rpc.service import Method, service_table

Function = Callable[[Node, Any, Any], Awaitable[Any] | AsyncIterator[Any]]

RUNTIME_CALLS: dict[str, Function] = {
    "Version": version.version,
    "RunPodSandbox": sandbox_run.run_pod_sandbox,
    "StopPodSandbox": sandbox_stop.stop_pod_sandbox,
    "RemovePodSandbox": sandbox_remove.remove_pod_sandbox,
    "PodSandboxStatus": sandbox_status.pod_sandbox_status,
    "ListPodSandbox": sandbox_list.list_pod_sandbox,
    "StreamPodSandboxes": sandbox_list.stream_pod_sandboxes,
    "CreateContainer": container_create.create_container,
    "StartContainer": container_start.start_container,
    "StopContainer": container_stop.stop_container,
    "RemoveContainer": container_remove.remove_container,
    "ListContainers": container_list.list_containers,
    "StreamContainers": container_list.stream_containers,
    "ContainerStatus": container_status.container_status,
    "UpdateContainerResources": container_update.update_container_resources,
    "ReopenContainerLog": container_reopen_log.reopen_container_log,
    "ExecSync": container_exec_sync.exec_sync,
    "Exec": container_exec.exec_container,
    "Attach": container_attach.attach_container,
    "PortForward": sandbox_port_forward.port_forward,
    "CheckpointContainer": container_checkpoint.checkpoint_container,
    "GetContainerEvents": events.get_container_events,
    "UpdatePodSandboxResources": sandbox_update.update_pod_sandbox_resources,
    "ContainerStats": container_stats.container_stats,
    "ListContainerStats": container_stats.list_container_stats,
    "StreamContainerStats": container_stats.stream_container_stats,
    "PodSandboxStats": sandbox_stats.pod_sandbox_stats,
    "ListPodSandboxStats": sandbox_stats.list_pod_sandbox_stats,
    "StreamPodSandboxStats": sandbox_stats.stream_pod_sandbox_stats,
    "UpdateRuntimeConfig": runtime_config_update.update_runtime_config,
    "Status": status.status,
    "ListMetricDescriptors": pod_metrics.list_metric_descriptors,
    "ListPodSandboxMetrics": pod_metrics.list_pod_sandbox_metrics,
    "StreamPodSandboxMetrics": pod_metrics.stream_pod_sandbox_metrics,
    "RuntimeConfig": runtime_config.runtime_config,
}

IMAGE_CALLS: dict[str, Function] = {
    "ListImages": image_list.list_images,
    "StreamImages": image_list.stream_images,
    "ImageStatus": image_status.image_status,
    "PullImage": image_pull.pull_image,
    "RemoveImage": image_remove.remove_image,
    "ImageFsInfo": image_fs_info.image_fs_info,
}


def methods(node: Node) -> dict[str, Method]:
    """The calls of both CRI services by path, bound to this node; what is not listed is UNIMPLEMENTED."""
    found: dict[str, Method] = {}
    for service, calls in (("RuntimeService", RUNTIME_CALLS), ("ImageService", IMAGE_CALLS)):
        descriptor = pb.DESCRIPTOR.services_by_name[service]
        found |= service_table(descriptor, {name: partial(function, node) for name, function in calls.items()})
    return found
