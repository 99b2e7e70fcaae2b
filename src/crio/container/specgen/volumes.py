"""The request's mounts: host paths, images and artifacts, with propagation, read-only kinds and id mappings."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, InvalidArgument
from crio.container.specgen.input import ImageMount
from crio.container.specgen.mount_source import (
    MountSource,
    PropagationTable,
    nearest_existing,
    open_source,
    require_propagation,
)
from crio.container.specgen.plan import MakeHostDirectory, Notes
from crio.container.specgen.proc_mounts import check_destination
from crio.spec.oci_runtime import IdMapping, Mount

_KIND = {pb.PROPAGATION_PRIVATE: "rprivate", pb.PROPAGATION_HOST_TO_CONTAINER: "rslave"}


class ImageVolumeMountFailed(CrioError):
    """The kubelet knows this failure by the beginning of its text."""

    code = InvalidArgument.code

    def __init__(self, message: str) -> None:
        super().__init__(f"ImageVolumeMountFailed: {message}")


class VolumeSettings(msgspec.Struct, frozen=True):
    """What the node and the handler say about mounts."""

    bind_mount_prefix: str = ""
    absent_sources_to_reject: Sequence[str] = ()
    storage_root: str = ""
    recursive_read_only: bool = False
    idmapped: bool = False
    """Whether the runtime makes id-mapped mounts; else they are made for it."""
    relabel: bool = True
    """False for a super-privileged container, which labels cannot stop."""
    trust_labels: bool = False
    restored: bool = False
    always_read_only: str = ""
    """A path of the host that nothing is written through, whatever the request says: runtimes make mounts writable."""


class Volumes(msgspec.Struct, frozen=True):
    mounts: list[Mount]
    """In the request's order."""
    reported: list[pb.Mount]
    """For ContainerStatus.mounts: with resolved host paths and image ids."""
    rootfs_propagation: str
    """ "rshared", "rslave" or ""."""


def depth(path: str) -> int:
    """How many directories deep a mount point is: the shallow ones are mounted first, or they would hide the others."""
    return posixpath.normpath(path).count("/") if path != "/" else 0


def volumes(
    requested: Iterable[pb.Mount], image_mounts: Mapping[str, ImageMount], settings: VolumeSettings, notes: Notes
) -> Volumes:
    """The mounts of a request. Raises InvalidArgument for what cannot be mounted as asked, ImageVolumeMountFailed."""
    table = PropagationTable()
    result = Volumes([], [], "")
    propagation = ""
    for request in requested:
        if not request.container_path:
            raise InvalidArgument("cannot create container: a mount has no container path")
        if "\0" in request.container_path or "\0" in request.host_path:
            raise InvalidArgument("cannot create container: the path of a mount contains a NUL character")
        check_destination(request.container_path)
        if posixpath.normpath("/" + request.container_path.lstrip("/")) == "/":
            raise InvalidArgument("cannot mount at /: that is the container's root; mount it elsewhere")
        if request.image.image:
            _image_volume(request, image_mounts.get(request.container_path), settings, notes, result)
            continue
        if not request.host_path:
            raise InvalidArgument(f"cannot mount at {request.container_path[:200]}: the mount has no host path")
        mount, kind = _host_volume(request, table, settings, notes, result.reported)
        result.mounts.append(mount)
        if kind == "rshared" or (kind == "rslave" and not propagation):
            propagation = kind
    return msgspec.structs.replace(result, rootfs_propagation=propagation)


def _host_volume(
    request: pb.Mount, table: PropagationTable, settings: VolumeSettings, notes: Notes, reported: list[pb.Mount]
) -> tuple[Mount, str]:
    source = open_source(request.host_path, settings.bind_mount_prefix)
    if source is None:
        path = _plan_missing(request.host_path, settings, notes)
        source = nearest_existing(path)
    else:
        path = source.path
    mode = request.propagation
    if mode == pb.PROPAGATION_PRIVATE and _contains(path, settings.storage_root):
        # Otherwise file systems of other containers could never be unmounted: this one would hold them.
        mode = pb.PROPAGATION_HOST_TO_CONTAINER
    with source:
        kind = _propagation(mode, source, table, request)
    read_only = _read_only(request, mode, settings)
    if read_only == "rw" and settings.always_read_only and _contains(settings.always_read_only, path):
        read_only = "ro"
    uids, gids = _mappings(request.uidMappings), _mappings(request.gidMappings)
    if bool(uids) != bool(gids):
        raise InvalidArgument(
            f"cannot mount {request.host_path[:200]} id-mapped: it needs mappings of both users and groups"
        )
    if not all(mapping.size for mapping in (*uids, *gids)):
        raise InvalidArgument(f"cannot mount {request.host_path[:200]} id-mapped: a mapping has length 0")
    runtime_source = path
    if uids and settings.idmapped:
        notes.try_owners(path, uids, gids)
    elif uids:
        runtime_source, uids, gids = notes.map_owners(path, uids, gids), [], []
    if request.selinux_relabel and settings.relabel:
        notes.label(path, trust_top=settings.trust_labels)
    done = pb.Mount()
    done.CopyFrom(request)
    done.host_path, done.propagation, done.readonly = path, mode, read_only != "rw"
    reported.append(done)
    return (
        Mount(
            request.container_path,
            "bind",
            runtime_source,
            ["rbind", kind, read_only],
            uids,
            gids,
        ),
        kind,
    )


def _plan_missing(host_path: str, settings: VolumeSettings, notes: Notes) -> str:
    path = posixpath.normpath(posixpath.join(settings.bind_mount_prefix or "/", host_path.lstrip("/")))
    if settings.restored:
        raise InvalidArgument(
            f"cannot mount {path[:200]}: it does not exist, and a restored container needs it as it was"
        )
    if path in settings.absent_sources_to_reject:
        raise InvalidArgument(
            f"cannot mount {path[:200]}: path does not exist and will cause issues as a directory "
            "(crio.conf: absent_mount_sources_to_reject)"
        )
    notes.effects.append(MakeHostDirectory(path))
    return path


def _propagation(mode: int, source: MountSource, table: PropagationTable, request: pb.Mount) -> str:
    if mode == pb.PROPAGATION_PRIVATE:
        return "rprivate"
    if mode not in (pb.PROPAGATION_HOST_TO_CONTAINER, pb.PROPAGATION_BIDIRECTIONAL):
        raise InvalidArgument(f"cannot mount {request.host_path[:200]}: propagation {mode} is not known")
    shared = mode == pb.PROPAGATION_BIDIRECTIONAL
    require_propagation(source, table, shared=shared, path=request.host_path)
    return "rshared" if shared else "rslave"


def _read_only(request: pb.Mount, mode: int, settings: VolumeSettings) -> str:
    """Of a recursive read-only mount the CRI demands that it is read-only and private."""
    if not request.recursive_read_only:
        return "ro" if request.readonly else "rw"
    what = f"cannot mount {request.host_path[:200]} recursively read-only"
    if not request.readonly:
        raise InvalidArgument(f"{what}: the mount is not read-only")
    if request.propagation != pb.PROPAGATION_PRIVATE or mode != pb.PROPAGATION_PRIVATE:
        raise InvalidArgument(f"{what}: that requires private propagation")
    if not settings.recursive_read_only:
        # The CRI's own word for it comes first.
        raise InvalidArgument(
            f"RROUnsupported: {what}: the OCI runtime of this handler or the kernel does not support it"
        )
    return "rro"


def _image_volume(
    request: pb.Mount, mount: ImageMount | None, settings: VolumeSettings, notes: Notes, result: Volumes
) -> None:
    if request.host_path:
        raise ImageVolumeMountFailed(f"cannot mount at {request.container_path[:200]}: both an image and a host path")
    if not request.readonly:
        raise ImageVolumeMountFailed(f"cannot mount image {request.image.image[:200]}: the mount is not read-only")
    if mount is None or not (mount.source or mount.files):
        raise ImageVolumeMountFailed(f"cannot mount image {request.image.image[:200]}: it is not on this node")
    targets = {request.container_path: mount.source} if mount.source else {}
    for name, path in mount.files.items():
        targets[_artifact_target(request.container_path, name)] = path
    for target, path in targets.items():
        if request.selinux_relabel and settings.relabel and mount.files:
            notes.label(path)
        uids, gids = _mappings(request.uidMappings), _mappings(request.gidMappings)
        if mount.owners_mapped:
            uids, gids = [], []
        elif uids and not settings.idmapped:
            path, uids, gids = notes.map_owners(path, uids, gids), [], []
        result.mounts.append(Mount(target, "bind", path, ["rbind", "rprivate", "ro", "nosuid", "nodev"], uids, gids))
    done = pb.Mount()
    done.CopyFrom(request)
    done.host_path = mount.source or next(iter(mount.files.values()))
    done.image.image_ref = mount.image_id
    result.reported.append(done)


def _artifact_target(container_path: str, name: str) -> str:
    """Where a blob is mounted; its name comes from the artifact's annotations."""
    clean = posixpath.normpath(name)
    if not name or clean.startswith(("/", "../")) or clean in (".", "..") or "\0" in name:
        raise ImageVolumeMountFailed(f"cannot mount file {name[:200]!r} of an artifact: it would leave the mount point")
    return posixpath.join(container_path, clean)


def _contains(directory: str, path: str) -> bool:
    return bool(path) and (path.rstrip("/") + "/").startswith(directory.rstrip("/") + "/")


def _mappings(mappings: Sequence[pb.IDMapping]) -> list[IdMapping]:
    return [IdMapping(mapping.container_id, mapping.host_id, mapping.length) for mapping in mappings]
