"""Keys and certificates of a policy, from the files or the values that it gives."""

from __future__ import annotations

from collections.abc import Sequence

from crio.base.errors import CrioError, InvalidArgument
from crio.base.files import read_bounded

_LIMIT = 4 << 20


def read_all(
    path: str | None, paths: Sequence[str] | None, data: bytes | None, datas: Sequence[bytes] | None
) -> list[bytes]:
    """Whichever of them is given. Raises InvalidArgument if a file cannot be read."""
    if data is not None:
        return [data]
    if datas is not None:
        return list(datas)
    return [_read(name) for name in ([path] if path else paths or ())]


def _read(path: str) -> bytes:
    try:
        return read_bounded(path, _LIMIT)
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}, which the signature policy names: {error.strerror}") from None
    except CrioError as error:
        raise InvalidArgument(f"cannot use {path}, which the signature policy names: {error.message}") from None
