"""A seccomp profile that comes from a registry as an OCI artifact with one file."""

from __future__ import annotations

from crio.base.errors import CrioError, FailedPrecondition, InvalidArgument
from crio.base.files import read_bounded
from crio.image.artifacts.layout import ArtifactInfo
from crio.image.service import ImageService
from crio.security.seccomp import MAX_PROFILE


async def profile_of_artifact(images: ImageService, reference: str, namespace: str) -> bytes:
    """The artifact's file, pulled as the images of that Kubernetes namespace are if it is not on the node yet.

    Raises FailedPrecondition if it cannot be had: without its profile the container must not run. InvalidArgument if
    it is an image, or has other than one file; ResourceExhausted if that is longer than a profile can be.
    """
    what = f"cannot use the seccomp profile of artifact {reference[:200]}"
    found = images.status(reference)
    if found is None:
        try:
            found = await images.pull(reference, namespace=namespace)
        except CrioError as error:
            raise FailedPrecondition(f"{what}: {error.message}") from error
    await images.check_use(found, reference, namespace)
    if not isinstance(found, ArtifactInfo):
        raise InvalidArgument(f"{what}: it is a container image")
    if len(found.files) != 1:
        raise InvalidArgument(f"{what}: it has {len(found.files)} files, and a profile is one")
    return read_bounded(found.files[0].path, MAX_PROFILE)
