"""What several concerns ask about a container, looked up once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.specgen.input import ContainerInput
from crio.container.specgen.plan import Notes
from crio.sandbox.annotations import allowed_for, filtered
from crio.spec.oci_runtime import IdMapping


class Draft(msgspec.Struct, frozen=True):
    given: ContainerInput
    context: pb.LinuxContainerSecurityContext
    name: str
    """The container's name in its pod."""
    privileged: bool
    host_network: bool
    user_namespace: bool
    read_only: bool
    pod_annotations: Mapping[str, str]
    """Only what is allowed; so too the container's."""
    container_annotations: Mapping[str, str]
    notes: Notes

    @property
    def owner(self) -> tuple[int, int]:
        """The host's user and group id of the container's root."""
        return self.host_ids(0, 0)

    def host_ids(self, uid: int, gid: int) -> tuple[int, int]:
        """What the host calls a user and a group of the container; who is nobody there counts as its root."""
        sandbox = self.given.sandbox
        return _host_id(sandbox.uid_mappings, uid), _host_id(sandbox.gid_mappings, gid)

    def maps_group(self, number: int) -> bool:
        """Whether the container has a group of that number."""
        return not self.user_namespace or any(
            mapping.container_id <= number < mapping.container_id + mapping.size
            for mapping in self.given.sandbox.gid_mappings
        )


def draft(given: ContainerInput) -> Draft:
    """Raises InvalidArgument if the container is to be privileged and its pod is not."""
    context = given.config.linux.security_context
    privileged = context.privileged
    if privileged and not given.sandbox_config.linux.security_context.privileged:
        raise InvalidArgument("cannot create container: it is privileged, and its pod sandbox is not")
    pod_annotations = given.sandbox_config.annotations
    allowed = allowed_for(given.handler.settings.allowed_annotations, given.runtime.workloads, pod_annotations)
    return Draft(
        given=given,
        context=context,
        name=given.config.metadata.name,
        privileged=privileged,
        host_network=not given.sandbox.namespaces.get("net"),
        user_namespace=bool(given.sandbox.namespaces.get("user")),
        read_only=context.readonly_rootfs or given.runtime.read_only,
        pod_annotations=filtered(pod_annotations, allowed),
        container_annotations=filtered(given.config.annotations, allowed),
        notes=Notes(given.run_directory, given.mount_label),
    )


def _host_id(mappings: Sequence[IdMapping], number: int) -> int:
    if not mappings:
        return number
    for mapping in mappings:
        if mapping.container_id <= number < mapping.container_id + mapping.size:
            return mapping.host_id + number - mapping.container_id
    return _host_id(mappings, 0) if number else 0
