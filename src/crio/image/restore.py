"""Getting back what the disk has lost of an image, when a container needs it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from crio.base.errors import CrioError, DataLoss
from crio.image.records import ImageInfo
from crio.image.service import ImageService

log = logging.getLogger(__name__)

T = TypeVar("T")


async def with_restore(
    images: ImageService,
    image: ImageInfo,
    namespace: str,
    make: Callable[[], Awaitable[T]],
    unmake: Callable[[], Awaitable[object]],
) -> T:
    """What `make` gives. If it finds a layer of the image lost, the layer is fetched and `make` called again, once.

    `unmake` takes away what the first attempt has left; that may be nothing. Raises what `make` and `restore` raise.
    """
    try:
        return await make()
    except DataLoss as error:
        log.warning("%s", error.message)
    await unmake()
    await restore(images, image, namespace)
    return await make()


async def restore(images: ImageService, image: ImageInfo, namespace: str) -> None:
    """Fetch the damaged layers of an image from where it came: by digest, so that it is the same image.

    Layers that are whole are not fetched. The node's own credentials apply. Raises DataLoss if the image's origin is
    not known, or does not have it any more.
    """
    reasons: list[str] = []
    for name in image.repo_digests:
        log.warning("image %s is damaged, and fetched again as %s", image.id[:12], name)
        try:
            restored = await images.pull(name, namespace=namespace)
        except CrioError as error:
            reasons.append(error.message)
            continue
        if restored.id == image.id:
            return
        reasons.append(f"{name} is now image {restored.id}")
    reason = "; ".join(reasons) or "it is not known where it came from"
    raise DataLoss(f"cannot restore image {image.id}: {reason}; remove it and pull it again")
