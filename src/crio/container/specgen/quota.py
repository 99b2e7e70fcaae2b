"""The limit of a container's writable layer, by annotation."""

from __future__ import annotations

import re
from collections.abc import Mapping

from crio.base.errors import InvalidArgument
from crio.container.specgen.annotation_names import ROOTFS_QUOTA, find

_SIZE = re.compile(r"(\d{1,15})(?:([KMGT])(i)?B?)?", re.IGNORECASE)
_MIN = 64 << 10


def rootfs_quota(annotations: Mapping[str, str], container: str) -> int | None:
    """Bytes, from the allowed annotation rootfs-quota.crio.io[/CONTAINER] ("512Mi", "2G"); None without it.

    "Ki" and "K" are both 1024. Raises InvalidArgument for a text that is no size, or one below 64 KiB.
    """
    text = find(annotations, ROOTFS_QUOTA, container)
    if text is None:
        return None
    match = _SIZE.fullmatch(text.strip())
    size = int(match[1]) << (10 * " KMGT".index((match[2] or " ").upper())) if match is not None else 0
    if not _MIN <= size < 1 << 62:
        raise InvalidArgument(f"cannot use annotation {ROOTFS_QUOTA}: {text[:40]!r} is no size such as 512Mi")
    return size
