"""Signatures as values, as one blob each, and as a store keeps them with an image.

The forms are those that podman, buildah and skopeo share: an OpenPGP message is kept as it is; anything else begins
with a zero byte and its format's name. A store has all of a manifest's signatures in one piece of big data, and their
sizes in the record's metadata. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from crio.base.errors import DataLoss
from crio.base.ids import Digest
from crio.base.jsontext import UNREADABLE

MAX_SIGNATURES = 128
"""Of one manifest."""
MAX_SIGNATURE = 4 << 20
"""Bytes of one signature."""
MAX_TOTAL = 16 << 20

COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
"""Media type of a sigstore signature's payload."""

_OPENPGP_FIRST = frozenset((0xA0, 0xA1, 0xA2, 0xA3, 0xC8, 0x90, 0x91, 0x92, 0x93, 0xC4, 0x88, 0x89, 0x8A, 0x8B, 0xC2))
"""First bytes of OpenPGP messages that are compressed, one-pass signed, or begin with the signature (RFC 4880, 4.2)."""


class SimpleSignature(Struct, frozen=True):
    """An OpenPGP message that holds payload and signature."""

    data: bytes


class SigstoreSignature(Struct, frozen=True, rename={"mime_type": "mimeType"}):
    """A payload, and its signature and proofs as annotations."""

    mime_type: str
    payload: bytes
    annotations: dict[str, str] = {}


Signature: TypeAlias = SimpleSignature | SigstoreSignature


class Unreadable(Exception):
    """What was found in a signature's place is none."""


def to_blob(signature: Signature) -> bytes:
    if isinstance(signature, SimpleSignature):
        return signature.data
    return b"\0sigstore-json\n" + msgspec.json.encode(signature)


def from_blob(blob: bytes) -> Signature:
    """Raises Unreadable."""
    if not blob:
        raise Unreadable("it is empty")
    if blob[0] in _OPENPGP_FIRST:
        return SimpleSignature(blob)
    name, newline, content = blob[1:].partition(b"\n")
    if blob[0] or not newline:
        raise Unreadable("its format is not known")
    if name == b"simple-signing":
        return SimpleSignature(content)
    if name != b"sigstore-json":
        raise Unreadable(f"its format {name[:40]!r} is not known")
    try:
        return msgspec.json.decode(content, type=SigstoreSignature)
    except UNREADABLE as error:
        raise Unreadable(str(error)) from None


class _Metadata(Struct):
    signature_sizes: list[int] | None = msgspec.field(default=None, name="signature-sizes")
    signatures_sizes: dict[str, list[int]] | None = msgspec.field(default=None, name="signatures-sizes")


def big_data(signatures: Sequence[Signature], digest: Digest) -> dict[str, bytes]:
    """What the store keeps of them, by key; `digest` is the manifest's."""
    joined = b"".join(map(to_blob, signatures))
    return {**({"signatures": joined} if joined else {}), _key(digest): joined}


def metadata(signatures: Sequence[Signature], digest: Digest, former: str) -> str:
    """The record's metadata with them; what `former` says of the image's other manifests stays."""
    sizes = [len(to_blob(signature)) for signature in signatures]
    document: dict[str, Any] = _document(former)
    others = document.get("signatures-sizes")
    document["signatures-sizes"] = {**(others if isinstance(others, dict) else {}), digest: sizes}
    document.pop("signature-sizes", None)
    if sizes:
        document["signature-sizes"] = sizes
    return msgspec.json.encode(document).decode()


def stored(record_metadata: str, keys: Sequence[str], read: Callable[[str], bytes]) -> Mapping[str, list[Signature]]:
    """The signatures that a store keeps with an image, by the digest of the manifest that they are for.

    `keys` are those of the image's big data, `read` gives one. Signatures that are none are left out. Raises DataLoss
    if sizes and data do not agree, and what `read` raises.
    """
    try:
        sizes = msgspec.json.decode(record_metadata or "{}", type=_Metadata).signatures_sizes or {}
    except UNREADABLE as error:
        raise DataLoss(f"cannot read the sizes of signatures: {error}; pull the image again") from None
    found: dict[str, list[Signature]] = {}
    for digest, lengths in sizes.items():
        key = _key(digest)
        if not lengths or key not in keys:
            continue
        if len(lengths) > MAX_SIGNATURES or any(length <= 0 for length in lengths):
            raise DataLoss(
                f"cannot read the signatures for {digest[:100]}: their sizes are wrong; pull the image again"
            )
        found[digest] = _split(read(key), lengths, digest)
    return found


def joined(new: Sequence[Signature], former: Sequence[Signature]) -> list[Signature]:
    """All of them, each once, the new ones first: a source that has none does not take away what another one had."""
    by_blob = {to_blob(signature): signature for signature in (*new, *former)}
    return list(by_blob.values())[:MAX_SIGNATURES]


def pack(signatures: Sequence[Signature]) -> bytes:
    """Signatures as one file."""
    return msgspec.json.encode([to_blob(signature) for signature in signatures])


def unpack(data: bytes) -> list[Signature]:
    """What `pack` made. Raises DataLoss."""
    try:
        return [from_blob(blob) for blob in msgspec.json.decode(data, type=list[bytes])]
    except (*UNREADABLE, Unreadable) as error:
        raise DataLoss(f"cannot read kept signatures: {error}; pull again") from None


def _split(data: bytes, lengths: Sequence[int], digest: str) -> list[Signature]:
    if sum(lengths) != len(data):
        raise DataLoss(f"cannot read the signatures for {digest[:100]}: some are cut off; pull the image again")
    found: list[Signature] = []
    offset = 0
    for length in lengths:
        try:
            found.append(from_blob(data[offset : offset + length]))
        except Unreadable:
            pass
        offset += length
    return found


def _key(digest: str) -> str:
    return f"signature-{digest.partition(':')[2]}"


def _document(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except UNREADABLE:
        return {}
