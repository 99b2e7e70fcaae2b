"""The list of mounts, joined and ordered: the container's own file systems first, the request's after them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from crio.container.specgen import default_mounts, fips
from crio.container.specgen.draft import Draft
from crio.container.specgen.image_volumes import image_volumes
from crio.container.specgen.subscriptions import subscription_mounts
from crio.container.specgen.timezone import timezone_mounts
from crio.container.specgen.user import ResolvedUser, account_mounts
from crio.container.specgen.volumes import Volumes, VolumeSettings, depth, volumes
from crio.security.selinux import SUPER_PRIVILEGED
from crio.spec.annotations import (
    CGROUP2_MOUNT_HIERARCHY_RW,
    DISABLE_FIPS,
    TRY_SKIP_VOLUME_SELINUX_LABEL,
    is_true,
)
from crio.spec.oci_runtime import Mount


def requested(draft: Draft) -> Volumes:
    """The mounts that the request asks for."""
    given, runtime = draft.given, draft.given.runtime
    label_type = draft.context.selinux_options.type or given.sandbox_config.linux.security_context.selinux_options.type
    settings = VolumeSettings(
        bind_mount_prefix=runtime.bind_mount_prefix,
        absent_sources_to_reject=runtime.absent_mount_sources_to_reject,
        storage_root=given.storage_root,
        recursive_read_only=given.handler.recursive_read_only,
        idmapped=given.handler.idmapped_mounts,
        relabel=label_type != SUPER_PRIVILEGED,
        trust_labels=is_true(draft.pod_annotations, TRY_SKIP_VOLUME_SELINUX_LABEL),
        restored=given.restored,
        always_read_only=given.sandbox.linked_logs,
    )
    return volumes(given.config.mounts, given.image_mounts, settings, draft.notes)


def all_mounts(
    draft: Draft, root_fd: int, asked: Volumes, user: ResolvedUser, *, home: str, systemd: bool
) -> list[Mount]:
    """Every mount of the container, in the order in which they are mounted."""
    given, notes = draft.given, draft.notes
    places = frozenset(posixpath.normpath(mount.destination) for mount in asked.mounts)
    found = _kernel(draft)
    found += default_mounts.pod_mounts(given.sandbox, host_network=draft.host_network, read_only=draft.read_only)
    if given.runtime.read_only:
        found += default_mounts.read_only_mounts()
    if systemd:
        found += default_mounts.systemd_mounts(cgroup_version=given.host.cgroup_version)
    if draft.privileged:
        make_writable(found)
    found += account_mounts(user, home=home, covered=places, notes=notes)
    found += timezone_mounts(given.runtime.timezone, root_fd, read_only=draft.read_only, notes=notes)
    found += subscription_mounts(given.runtime.default_mounts_file, owner=draft.owner, notes=notes)
    if given.host.fips:
        if is_true(draft.pod_annotations, DISABLE_FIPS):
            found += fips.fips_off_mounts(notes)
        else:
            found += fips.fips_mounts(root_fd, given.rootfs, owner=draft.owner, notes=notes)
    owner = draft.host_ids(user.uid, user.gid)
    found += image_volumes(given.image.volumes, given.image_volumes, owner=owner, requested=places, notes=notes)
    return join(found, asked.mounts)


def _kernel(draft: Draft) -> list[Mount]:
    return default_mounts.kernel_mounts(
        privileged=draft.privileged,
        host_network=draft.host_network,
        user_namespace=draft.user_namespace,
        gid_five_mapped=draft.maps_group(5),
        cgroup_writable=draft.given.host.cgroup_version == 2
        and is_true(draft.pod_annotations, CGROUP2_MOUNT_HIERARCHY_RW),
        recursive_read_only=draft.given.handler.recursive_read_only,
    )


def join(defaults: Iterable[Mount], asked: Iterable[Mount]) -> list[Mount]:
    """Shallow mount points before deep ones within each of the two groups.

    A default gives way to a requested mount at or above its place, which would hide it: then nothing is made in the
    volume for it. Of defaults at one place the last counts.
    """
    ordered = sorted(asked, key=_depth)
    places = [posixpath.normpath(mount.destination) for mount in ordered]
    at = frozenset(places)
    above = tuple(place + "/" for place in places if place != "/")
    kept: dict[str, Mount] = {}
    for mount in defaults:
        if mount.destination not in at and not mount.destination.startswith(above):
            kept[mount.destination] = mount
    return [*sorted(kept.values(), key=_depth), *ordered]


def make_writable(mounts: Iterable[Mount]) -> None:
    """A privileged container's own file systems are all writable."""
    for mount in mounts:
        if "ro" in mount.options:
            mount.options = ["rw" if option == "ro" else option for option in mount.options]


def _depth(mount: Mount) -> int:
    return depth(mount.destination)
