"""Docker manifest schema 1: the signed payload's bytes, and its conversion into an image configuration.

A schema 1 image has no configuration blob. Docker's engine and containers/image make one from the newest history entry,
the older entries' commands and the layers' diff ids. They are written in Go, so the same image id comes only from bytes
as Go's encoder writes them: keys sorted at the top, values as they were but without blanks, and <, > and & escaped.
Pure.
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from crio.base.ids import Digest
from crio.base.jsontext import UNREADABLE
from crio.image.errors import BadImage
from crio.spec.docker_image import Schema1Manifest
from crio.spec.oci_image import Descriptor

# Possessive, as the engine remembers each step of a repetition that it could take back: 100 bytes for each letter.
_STRING_OR_BLANK = re.compile(rb'"(?:[^"\\]++|\\.)*+"|\s+')
_FRACTION = re.compile(r"(\.\d+)(?=Z$|[+-]\d\d:\d\d$)")
_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)
_DROPPED = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")


class _Signature(msgspec.Struct, frozen=True):
    protected: str


class _Signed(msgspec.Struct, frozen=True):
    signatures: tuple[_Signature, ...] = ()


class _Protected(msgspec.Struct, frozen=True, rename="camel"):
    format_length: int
    format_tail: str


class _Container(msgspec.Struct, frozen=True, rename="pascal"):
    cmd: tuple[str, ...] | None = None


class _Entry(msgspec.Struct, frozen=True):
    created: str | None = None
    author: str | None = None
    comment: str | None = None
    container_config: _Container | None = None
    throwaway: bool = False


def payload(data: bytes) -> bytes:
    """The bytes that a schema 1 manifest's digest is taken of: without its JWS signature block.

    The signature says where the text was cut to put it in. Raises BadImage.
    """
    try:
        signatures = msgspec.json.decode(data, type=_Signed).signatures
        if not signatures:
            return data
        protected = msgspec.json.decode(_base64url(signatures[0].protected), type=_Protected)
        tail = _base64url(protected.format_tail)
    except (*UNREADABLE, binascii.Error, ValueError) as error:
        raise BadImage(f"cannot use the signature of a schema 1 manifest: {error}") from None
    if not 0 <= protected.format_length <= len(data):
        raise BadImage("cannot use the signature of a schema 1 manifest: its length is not inside the manifest")
    return data[: protected.format_length] + tail


def layers(manifest: Schema1Manifest) -> tuple[Descriptor, ...]:
    """The layers that hold files, from the base up; sizes are unknown (0) in this format."""
    pairs = zip(reversed(manifest.fs_layers), reversed(manifest.history), strict=True)
    return tuple(
        Descriptor(digest=layer.blob_sum, size=0)
        for layer, entry in pairs
        if not _entry(entry.v1_compatibility).throwaway
    )


def make_config(manifest: Schema1Manifest, diff_ids: tuple[Digest, ...]) -> bytes:
    """The image configuration for these layers. Raises BadImage if the newest history entry is no JSON object."""
    try:
        newest = msgspec.json.decode(manifest.history[0].v1_compatibility, type=dict[str, msgspec.Raw])
    except UNREADABLE as error:
        raise BadImage(f"cannot convert a schema 1 manifest: {error}") from None
    values = {key: bytes(raw) for key, raw in newest.items() if key not in _DROPPED}
    entries = [_entry(item.v1_compatibility) for item in reversed(manifest.history)]
    values["history"] = msgspec.json.encode([_history(entry) for entry in entries])
    values["rootfs"] = msgspec.json.encode({"type": "layers", "diff_ids": list(diff_ids)})
    return b"{" + b",".join(msgspec.json.encode(key) + b":" + _compact(values[key]) for key in sorted(values)) + b"}"


def _history(entry: _Entry) -> dict[str, object]:
    command = " ".join(entry.container_config.cmd or ()) if entry.container_config else ""
    fields = {
        "created": _go_time(entry.created or "0001-01-01T00:00:00Z"),
        "author": entry.author,
        "created_by": command,
        "comment": entry.comment,
        "empty_layer": entry.throwaway,
    }
    return {key: value for key, value in fields.items() if value}


def _go_time(text: str) -> str:
    """Zeros at the end of a fraction of a second are left out, and UTC is Z."""
    text = _FRACTION.sub(lambda match: match[1].rstrip("0").rstrip("."), text)
    return text[:-6] + "Z" if text.endswith(("+00:00", "-00:00")) else text


def _compact(raw: bytes) -> bytes:
    return _STRING_OR_BLANK.sub(lambda match: _escape(match[0]) if match[0][:1] == b'"' else b"", raw)


def _escape(text: bytes) -> bytes:
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    return text


def _entry(text: str) -> _Entry:
    try:
        return msgspec.json.decode(text, type=_Entry)
    except UNREADABLE as error:
        raise BadImage(f"cannot read the history of a schema 1 manifest: {error}") from None


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
