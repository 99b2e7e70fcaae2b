"""Manifests and indexes from bytes: told apart, checked, bounded.

A document must say in one voice what it is. One that can be read both as a manifest and as an index would let two
readers see two images under one digest (CVE-2021-41190), so it is refused, as is one whose media type is not the one
that it was served as. Pure.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.ids import Digest, parse_digest
from crio.base.jsontext import UNREADABLE
from crio.image.errors import BadContent, BadImage
from crio.spec import docker_image, oci_image
from crio.spec.docker_image import Schema1Manifest
from crio.spec.oci_image import Descriptor, ImageConfig, Index, Manifest


class Served(msgspec.Struct, frozen=True):
    """A manifest or index as it came. `media_type` is the content type that it came with, "" where none is said."""

    data: bytes
    media_type: str


Document: TypeAlias = Manifest | Index | Schema1Manifest

MANIFEST_TYPES = (oci_image.MANIFEST, docker_image.MANIFEST)
INDEX_TYPES = (oci_image.INDEX, docker_image.MANIFEST_LIST)
SCHEMA1_TYPES = (docker_image.MANIFEST_V1_SIGNED, docker_image.MANIFEST_V1)
ACCEPTED = (*MANIFEST_TYPES, *INDEX_TYPES, *SCHEMA1_TYPES)
"""What a registry is told that we understand, in this order."""

MAX_LAYERS = 500
"""Overlay mounts take no more lower directories than this."""
MAX_ENTRIES = 4096
MAX_BLOB = 1 << 50
"""Bytes that a document may claim for one blob: sums of it still go into what 64 bits hold."""


class _Shape(msgspec.Struct, rename="camel"):
    """The fields by which the kinds of documents differ."""

    schema_version: int = 0
    media_type: str | None = None
    manifests: object = None
    config: object = None
    layers: object = None
    fs_layers: object = None


def parse_document(data: bytes, served_as: str, what: str) -> Document:
    """The document in `data`, which came with the content type `served_as` ("" if unknown).

    `what` names it in errors. Raises BadImage.
    """
    if len(data) > oci_image.MAX_DOCUMENT:
        raise BadImage(f"cannot use manifest of {what}: it is longer than {oci_image.MAX_DOCUMENT} bytes")
    try:
        shape = msgspec.json.decode(data, type=_Shape)
        kind = _kind(shape, served_as.partition(";")[0].strip().lower(), what)
        document = msgspec.json.decode(data, type=kind)
    except UNREADABLE as error:
        raise BadImage(f"cannot use manifest of {what}: {error}") from None
    _check(document, what)
    return document


def check_descriptor(descriptor: Descriptor, what: str) -> Digest:
    """The descriptor's digest, checked, with its size. Raises BadImage."""
    try:
        digest = parse_digest(descriptor.digest)
    except InvalidArgument as error:
        raise BadImage(f"cannot use {what}: {error.message}") from None
    if not 0 <= descriptor.size <= MAX_BLOB:
        raise BadImage(f"cannot use {what}: the size of {digest} is {descriptor.size}")
    return digest


def verify(data: bytes, digest: Digest, what: str) -> None:
    """Raises BadContent unless `data` has this digest."""
    algorithm, _, wanted = digest.partition(":")
    found = hashlib.new(algorithm, data).hexdigest()
    if found != wanted:
        raise BadContent(f"cannot use {what}: its digest is {algorithm}:{found} and not {digest}")


def digest_of(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def parse_config(data: bytes, what: str) -> ImageConfig:
    """The image configuration in `data`, with checked diff ids. Raises BadImage."""
    try:
        config = oci_image.decode_config(data)
        for diff_id in config.diff_ids:
            parse_digest(diff_id)
    except UNREADABLE as error:
        raise BadImage(f"cannot use configuration of {what}: {error}") from None
    except InvalidArgument as error:
        raise BadImage(f"cannot use configuration of {what}: {error.message}") from None
    return config


def _kind(shape: _Shape, served_as: str, what: str) -> type[Manifest] | type[Index] | type[Schema1Manifest]:
    as_index = shape.manifests is not None
    as_manifest = shape.config is not None or shape.layers is not None
    as_schema1 = shape.fs_layers is not None
    if as_index + as_manifest + as_schema1 > 1:
        raise BadImage(f"cannot use manifest of {what}: it is several kinds of manifest at once")
    says = {_kind_of_type(name) for name in (served_as, shape.media_type or "")} - {None}
    shaped: type[Manifest] | type[Index] | type[Schema1Manifest] | None = (
        Index if as_index else Manifest if as_manifest else Schema1Manifest if as_schema1 else None
    )
    if shaped is None:
        raise BadImage(f"cannot use manifest of {what}: it is neither a manifest nor an index")
    if says - {shaped}:
        raise BadImage(
            f"cannot use manifest of {what}: its content is not of the type that it says "
            f"({served_as or shape.media_type})"
        )
    if shape.schema_version not in ((1,) if shaped is Schema1Manifest else (0, 2)):
        raise BadImage(f"cannot use manifest of {what}: schemaVersion is {shape.schema_version}")
    return shaped


def _kind_of_type(media_type: str) -> type[Manifest] | type[Index] | type[Schema1Manifest] | None:
    if media_type in MANIFEST_TYPES:
        return Manifest
    if media_type in INDEX_TYPES:
        return Index
    return Schema1Manifest if media_type in SCHEMA1_TYPES else None


def _check(document: Document, what: str) -> None:
    match document:
        case Manifest():
            _check_count(len(document.layers), MAX_LAYERS, "layers", what)
            check_descriptor(document.config, f"configuration of {what}")
            for layer in document.layers:
                check_descriptor(layer, f"layer of {what}")
        case Index():
            _check_count(len(document.manifests), MAX_ENTRIES, "manifests", what)
            for entry in document.manifests:
                check_descriptor(entry, f"index of {what}")
        case Schema1Manifest():
            _check_count(len(document.fs_layers), MAX_LAYERS, "layers", what)
            if not document.history or len(document.fs_layers) != len(document.history):
                raise BadImage(f"cannot use manifest of {what}: layers and history differ in number")
            for fs_layer in document.fs_layers:
                check_descriptor(Descriptor(digest=fs_layer.blob_sum, size=0), f"layer of {what}")


def _check_count(number: int, limit: int, noun: str, what: str) -> None:
    if number > limit:
        raise BadImage(f"cannot use manifest of {what}: it has {number} {noun}, more than {limit}")
