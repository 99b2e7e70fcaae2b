"""Images that a container mounts as volumes.

Each is a container of its own in the store, mounted read-only: so no tool that shares the store can remove the image
meanwhile, the files have the pod's label, and what a crash leaves is found by its owner. The container's record holds
the ids before any of them exists. Of an artifact the files are mounted, each for itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, NotFound
from crio.base.executor import Executor
from crio.base.failpoints import failpoint
from crio.base.ids import new_id
from crio.container.container import Container
from crio.container.specgen.input import ImageMount
from crio.container.specgen.volumes import ImageVolumeMountFailed
from crio.container.stored import StoredContainer, id_map_entries
from crio.image.artifacts.layout import ArtifactInfo
from crio.image.artifacts.view import mount_files
from crio.image.records import ImageInfo
from crio.image.restore import with_restore
from crio.image.service import ImageService
from crio.linux.openat2 import open_in_root
from crio.sandbox.sandbox import Sandbox
from crio.storage.store import Store


def new_ids(config: pb.ContainerConfig) -> list[str]:
    """An id for each image volume of the request, in its order."""
    return [new_id() for _ in _requests(config)]


async def resolve_images(
    images: ImageService, config: pb.ContainerConfig, namespace: str, *, artifacts: bool
) -> list[ImageInfo]:
    """The image of each image volume, or the artifact, if `artifacts` may be mounted.

    Raises ImageVolumeMountFailed, and SignatureValidationFailed if the namespace's policy does not accept one.
    """
    found = []
    for mount in _requests(config):
        try:
            image = images.resolve(mount.image.image)
        except NotFound:
            raise ImageVolumeMountFailed(f"{_what(mount)}: it is not on this node") from None
        if isinstance(image, ArtifactInfo) and not artifacts:
            raise ImageVolumeMountFailed(f"{_what(mount)}: it is an OCI artifact; see oci_artifact_mount_support")
        await images.check_use(image, mount.image.user_specified_image or mount.image.image, namespace)
        found.append(image)
    return found


async def mount_images(
    store: Store,
    storage: Executor,
    service: ImageService,
    images: Sequence[ImageInfo],
    sandbox: Sandbox,
    container: Container,
) -> Mapping[str, ImageMount]:
    """Mount the images of `resolve_images`; by container path. A layer that the disk has lost is fetched again, once.

    Raises ImageVolumeMountFailed; then `unmount_images` takes away what was mounted until then.
    """
    mounted = {}
    for number, (volume, image) in enumerate(zip(container.record.image_volumes, images, strict=True)):
        request = _requests(container.config)[number]
        if isinstance(image, ArtifactInfo):
            mounted[request.container_path] = ImageMount(files=_files(image, request), image_id=image.id)
            continue
        try:
            root = await with_restore(
                service,
                image,
                sandbox.config.metadata.namespace,
                make=partial(storage.run, _mount, store, volume, number, image.id, sandbox, container),
                unmake=partial(storage.run, unmount_images, store, [volume]),
            )
        except (CrioError, OSError) as error:
            raise ImageVolumeMountFailed(f"{_what(request)}: {error}") from error
        mounted[request.container_path] = ImageMount(
            source=_sub_path(root, request), image_id=image.id, owners_mapped=bool(sandbox.record.uid_mappings)
        )
    return mounted


def _mount(store: Store, volume: str, number: int, image_id: str, sandbox: Sandbox, container: Container) -> str:
    """The root of the mounted image. Blocks."""
    asked = _requests(container.config)[number].image.image
    store.create_container(
        volume,
        names=[f"{container.name}_image-volume-{number}"],
        image_id=image_id,
        metadata=_metadata(sandbox, container, asked, image_id).text(),
        mount_label=sandbox.record.mount_label,
        uid_mappings=id_map_entries(sandbox.record.uid_mappings),
        gid_mappings=id_map_entries(sandbox.record.gid_mappings),
    )
    failpoint("container.image_volume.made")
    return store.mount_container(volume, read_only=True)


def user_of_artifact(containers: Iterable[Container], artifact_id: str) -> str:
    """The name of a container that mounts this artifact, "" if there is none."""
    for container in containers:
        mounts = map(pb.Mount.FromString, container.record.mounts if container.record.image_volumes else ())
        if any(mount.image.image_ref == artifact_id for mount in mounts):
            return container.name
    return ""


def unmount_images(store: Store, volumes: list[str]) -> None:
    """Unmount and remove image volumes; those that do not exist are fine. Blocks."""
    for volume in volumes:
        try:
            store.remove_container(volume)
        except NotFound:
            continue


def _metadata(sandbox: Sandbox, container: Container, image: str, image_id: str) -> StoredContainer:
    return StoredContainer(
        pod_name=sandbox.name,
        pod_id=sandbox.id,
        image_name=image,
        image_id=image_id,
        name=container.name,
        uid=sandbox.config.metadata.uid,
        namespace=sandbox.config.metadata.namespace,
        mountlabel=sandbox.record.mount_label,
        created_at=container.record.created_at // 1_000_000_000,
        image_volume_of=container.id,
    )


def _files(artifact: ArtifactInfo, request: pb.Mount) -> dict[str, str]:
    """The host's path of each file of an artifact by its name below the mount point."""
    files = dict(mount_files(artifact, request.image_sub_path))
    if not files:
        reason = "it has no file with a name"
        if request.image_sub_path:
            reason = f"its sub path {request.image_sub_path[:200]!r} does not exist in it"
        raise ImageVolumeMountFailed(f"{_what(request)}: {reason}")
    return files


def _requests(config: pb.ContainerConfig) -> list[pb.Mount]:
    return [mount for mount in config.mounts if mount.image.image]


def _what(request: pb.Mount) -> str:
    return f"cannot mount image {request.image.image[:200]}"


def _sub_path(root: str, request: pb.Mount) -> str:
    """The host's path of the sub path inside the image, whose links cannot lead out of it."""
    path = request.image_sub_path
    if not path:
        return root
    what = f"{_what(request)}: its sub path {path[:200]!r}"
    if "\0" in path or ".." in path.split("/"):
        raise ImageVolumeMountFailed(f"{what} has a '..' or a NUL character")
    try:
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_in_root(root_fd, path.lstrip("/") or ".", os.O_PATH)
        finally:
            os.close(root_fd)
    except FileNotFoundError:
        raise ImageVolumeMountFailed(f"{what} does not exist in it") from None
    except OSError as error:
        raise ImageVolumeMountFailed(f"{what} cannot be opened: {error.strerror}") from error
    try:
        # The image is read-only, so the path cannot come to mean something else.
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
