"""Named blobs that belong to a record: an image's manifests and config, a layer's or container's own data."""

from __future__ import annotations

import base64
import os

from crio.base.errors import InvalidArgument, NotFound
from crio.base.files import read_bounded, write_atomic
from crio.base.regex import regex

MAX_BLOB = 64 << 20
"""Bytes of one blob that is read into memory; manifests and configs are below 4 MiB."""

_PLAIN = regex(r"[.0-9a-z]+")


def file_name(key: str) -> str:
    """The file of one key: the key itself if it is plain, else `=` and its base64."""
    if _PLAIN.fullmatch(key) and key not in (".", ".."):
        return key
    name = "=" + base64.b64encode(key.encode()).decode()
    if not key or "/" in name:
        raise InvalidArgument(f"cannot store data under the key {key[:100]!r}: it gives no file name")
    return name


def write(directory: str, key: str, data: bytes, *, durable: bool) -> None:
    """Store one blob below `directory`, which is made with mode 0700 if it is missing."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    write_atomic(os.path.join(directory, file_name(key)), data, durable=durable)


def read(directory: str, key: str, owner: str) -> bytes:
    """Raises NotFound naming `owner` if there is no such blob, ResourceExhausted beyond MAX_BLOB bytes."""
    try:
        return read_bounded(os.path.join(directory, file_name(key)), MAX_BLOB)
    except FileNotFoundError:
        raise NotFound(f"cannot read {key!r} of {owner}: there is no such data") from None
