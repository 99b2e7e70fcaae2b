"""Which seccomp profile a container gets."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec
from msgspec import Raw

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from crio.security.host import HostFacts
from crio.security.seccomp import MAX_PROFILE, Profile, SeccompProfiles, Target, parse
from crio.spec.annotations import OLDER, SECCOMP_NOTIFIER_ACTION, SECCOMP_PROFILE, find
from crio.spec.oci_runtime import NONE

UNCONFINED, RUNTIME_DEFAULT = "Unconfined", "RuntimeDefault"


class Choice(msgspec.Struct, frozen=True):
    """The filter of one container, and what is to be told and done about it."""

    encoded: Raw = NONE
    """`linux.seccomp` of the specification; unset when unconfined."""
    reference: str = UNCONFINED
    """The profile's name, as the specification's annotations tell it."""
    listener: str = ""
    """The socket at which the daemon hears of forbidden calls; "" if nobody asked for that."""
    action: str = ""
    """What the notifier is to do, as the annotation says it."""
    program: str = ""
    """The filter as the kernel takes it, in base64, for a runtime that can use it."""


def artifact_reference(
    context: pb.LinuxContainerSecurityContext,
    container: str,
    pod_annotations: Mapping[str, str],
    image_annotations: Mapping[str, str],
) -> str:
    """The OCI artifact that holds the container's profile, for the caller to fetch; "" for none.

    Annotations, already filtered for what is allowed: the pod's for this container, the pod's for all (/POD), the
    image's. They count only where the request leaves the container unconfined.
    """
    if _asks_for_profile(context):
        return ""
    for given, suffixes in ((pod_annotations, (container, "POD")), (image_annotations, ("", container, "POD"))):
        for suffix in suffixes:
            for name in (SECCOMP_PROFILE, OLDER[SECCOMP_PROFILE]):
                value = given.get(f"{name}/{suffix}" if suffix else name)
                if value:
                    return value
    return ""


def choose(
    context: pb.LinuxContainerSecurityContext,
    *,
    profiles: SeccompProfiles,
    host: HostFacts,
    capabilities: list[str],
    privileged: bool,
    privileged_profile: str,
    handler_profile: str,
    artifact: bytes | None,
    annotations: Mapping[str, str],
    container_id: str,
    notifier_directory: str,
    takes_program: bool = False,
) -> Choice:
    """The profile, compiled for the container's capabilities.

    Raises FailedPrecondition for a localhost profile on a kernel without seccomp, InvalidArgument for one that is
    missing or malformed. Privileged containers are unconfined unless crio.conf has a profile for them.
    """
    if privileged and not privileged_profile:
        return Choice()
    wanted = (
        pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref=privileged_profile)
        if privileged
        else requested(context)
    )
    kind = wanted.profile_type
    if kind not in pb.SecurityProfile.ProfileType.values():
        # Whatever it means, it is not to do without one.
        raise InvalidArgument(f"cannot use a seccomp profile of type {kind}: it is not known to this release")
    if not host.seccomp_actions:
        if kind == pb.SecurityProfile.Localhost:
            raise FailedPrecondition(
                f"cannot use seccomp profile {wanted.localhost_ref[:200]}: the kernel has no seccomp filters"
            )
        return Choice()
    profile: Profile
    if kind == pb.SecurityProfile.Localhost:
        profile, reference = profiles.from_file(wanted.localhost_ref), wanted.localhost_ref
    elif kind == pb.SecurityProfile.RuntimeDefault:
        profile, reference = profiles.runtime_default(handler_profile), RUNTIME_DEFAULT
    elif artifact is not None:
        if len(artifact) > MAX_PROFILE:
            raise ResourceExhausted(
                f"cannot use the seccomp profile of an artifact: it is longer than {MAX_PROFILE} bytes"
            )
        profile, reference = parse(artifact, "of an OCI artifact"), ""
    else:
        return Choice()
    target = Target(host.architecture, host.absent_architectures)
    if find(annotations, SECCOMP_NOTIFIER_ACTION) is None or "user_notif" not in host.seccomp_actions:
        program = profile.program(capabilities, target) if takes_program else ""
        return Choice(profile.compile(capabilities, target), reference, program=program)
    # The path of a socket has little room, and the first half of an id tells as much.
    listener = os.path.join(notifier_directory, container_id[:32])
    encoded = profile.compile_notified(capabilities, target, listener, container_id)
    return Choice(encoded, reference, listener, find(annotations, SECCOMP_NOTIFIER_ACTION) or "")


def requested(context: pb.LinuxContainerSecurityContext) -> pb.SecurityProfile:
    """The profile in either spelling; a request without any is unconfined. Raises InvalidArgument."""
    if context.HasField("seccomp"):
        return context.seccomp
    text = context.seccomp_profile_path
    if text in ("", "unconfined"):
        return pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)
    if text in ("runtime/default", "docker/default"):
        return pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)
    if text.startswith("localhost/"):
        return pb.SecurityProfile(
            profile_type=pb.SecurityProfile.Localhost, localhost_ref=text.removeprefix("localhost/")
        )
    raise InvalidArgument(
        f"cannot use seccomp profile {text[:200]!r}: it is none of runtime/default, unconfined, localhost/PATH"
    )


def _asks_for_profile(context: pb.LinuxContainerSecurityContext) -> bool:
    return requested(context).profile_type != pb.SecurityProfile.Unconfined
