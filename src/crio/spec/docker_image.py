"""Docker's image documents where they differ from the OCI's: media types, schema 1, the list inside `docker save`."""

from __future__ import annotations

from msgspec import Struct

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_V1 = "application/vnd.docker.distribution.manifest.v1+json"
MANIFEST_V1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
"""Start of the media types of layers that are fetched from `urls` and not from the registry."""


class FsLayer(Struct, frozen=True, rename="camel"):
    blob_sum: str


class V1History(Struct, frozen=True, rename="camel"):
    v1_compatibility: str
    """JSON text: the image's configuration as Docker 1.9 knew it."""


class Schema1Manifest(Struct, frozen=True, kw_only=True, rename="camel"):
    """Manifest schema 1, newest layer first; layers and history run in parallel."""

    schema_version: int
    name: str = ""
    tag: str = ""
    architecture: str = ""
    fs_layers: tuple[FsLayer, ...]
    history: tuple[V1History, ...]


class ArchiveImage(Struct, frozen=True, rename="pascal"):
    """One entry of manifest.json in an archive made by `docker save`; paths are inside the archive."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None
