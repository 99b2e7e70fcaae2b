"""Our objects as the CRI's messages."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.protobuf import field
from crio.container.container import Container
from crio.image.records import ImageInfo
from crio.sandbox.sandbox import Sandbox

_ITEMS = 1
"""The field of the items, in the answers of all List and Stream calls."""


def sandbox_state(sandbox: Sandbox) -> pb.PodSandboxState.ValueType:
    return pb.SANDBOX_READY if sandbox.ready else pb.SANDBOX_NOTREADY


def listed_sandbox(item: Sandbox) -> bytes:
    """The short form, as the field of a list's answer that has the items."""
    state = sandbox_state(item)
    if item.listed[0] != state:
        config = item.config
        message = pb.PodSandbox(
            id=item.id,
            metadata=config.metadata,
            state=state,
            created_at=item.record.created_at,
            labels=config.labels,
            annotations=config.annotations,
            runtime_handler=item.record.runtime_handler,
        )
        item.listed = (state, field(_ITEMS, message.SerializeToString()))
    return item.listed[1]


def sandbox_status(item: Sandbox) -> pb.PodSandboxStatus:
    config = item.config
    network = pb.PodSandboxNetworkStatus()
    if not item.host_network and item.record.ips and not item.record.stopped_at:
        network.ip = item.record.ips[0]
        network.additional_ips.extend(pb.PodIP(ip=ip) for ip in item.record.ips[1:])
    return pb.PodSandboxStatus(
        id=item.id,
        metadata=config.metadata,
        state=sandbox_state(item),
        created_at=item.record.created_at,
        network=network,
        linux=pb.LinuxPodSandboxStatus(namespaces=pb.Namespace(options=item.options)),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=item.record.runtime_handler,
    )


def listed_container(item: Container) -> bytes:
    """The short form, as the field of a list's answer that has the items."""
    state = item.state
    if item.listed[0] != state:
        config, record = item.config, item.record
        message = pb.Container(
            id=item.id,
            pod_sandbox_id=record.sandbox_id,
            metadata=config.metadata,
            image=_image_spec(item),
            image_ref=record.image_digest,
            image_id=record.image_id,
            state=pb.ContainerState.ValueType(state),
            created_at=record.created_at,
            labels=config.labels,
            annotations=config.annotations,
        )
        item.listed = (state, field(_ITEMS, message.SerializeToString()))
    return item.listed[1]


def container_status(item: Container) -> pb.ContainerStatus:
    config, record = item.config, item.record
    status = pb.ContainerStatus(
        id=item.id,
        metadata=config.metadata,
        state=pb.ContainerState.ValueType(item.state),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=item.finished_at,
        exit_code=item.exit_code,
        image=_image_spec(item),
        image_ref=record.image_digest,
        image_id=record.image_id,
        reason=item.reason,
        message=item.message,
        labels=config.labels,
        annotations=config.annotations,
        mounts=[pb.Mount.FromString(mount) for mount in record.mounts],
        log_path=record.log_path,
        stop_signal=pb.Signal.ValueType(record.stop_signal_value),
    )
    status.resources.linux.CopyFrom(pb.LinuxContainerResources.FromString(record.resources))
    user = status.user.linux
    user.uid, user.gid = record.user.uid, record.user.gid
    user.supplemental_groups.extend(record.user.groups)
    return status


def _image_spec(item: Container) -> pb.ImageSpec:
    return pb.ImageSpec(
        image=item.record.image_name,
        annotations=item.config.image.annotations,
        user_specified_image=item.config.image.user_specified_image,
    )


def image(item: ImageInfo) -> pb.Image:
    message = pb.Image(
        id=item.id,
        repo_tags=item.repo_tags,
        repo_digests=item.repo_digests,
        size=item.size,
        username=item.username,
        pinned=item.pinned,
    )
    if item.uid is not None:
        message.uid.value = item.uid
    message.spec.image = item.repo_digests[0] if item.repo_digests else item.id
    return message
