"""The limit of a container's writable layer, by annotation."""

from __future__ import annotations

from collections.abc import Mapping

from crio.base.errors import InvalidArgument
from crio.spec.annotations import ROOTFS_QUOTA, find, parse_size

_MIN = 64 << 10


def rootfs_quota(annotations: Mapping[str, str], container: str) -> int | None:
    """Bytes, from the allowed annotation rootfs-quota.crio.io[/CONTAINER] ("512Mi", "2G"); None without it.

    "Ki" and "K" are both 1024. Raises InvalidArgument for a text that is no size, or one below 64 KiB.
    """
    text = find(annotations, ROOTFS_QUOTA, container)
    if text is None:
        return None
    size = parse_size(text)
    if size is None or size < _MIN:
        raise InvalidArgument(f"cannot use annotation {ROOTFS_QUOTA}: {text[:40]!r} is no size such as 512Mi")
    return size
