"""The file mode mask of a container's first process, by annotation."""

from __future__ import annotations

from collections.abc import Mapping

from crio.base.errors import InvalidArgument
from crio.base.regex import regex
from crio.spec.annotations import UMASK, find

_OCTAL = regex(r"[0-7]{1,4}")


def umask(annotations: Mapping[str, str]) -> int | None:
    """The mask of the allowed annotation umask.crio.io; None without it. Raises InvalidArgument if it is not octal."""
    text = find(annotations, UMASK)
    if not text:
        return None
    if not _OCTAL.fullmatch(text):
        raise InvalidArgument(f"cannot use annotation {UMASK}: {text[:40]!r} is not an octal number such as 0022")
    return int(text, 8)
