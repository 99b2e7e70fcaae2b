"""The OCI image specification as typed values (version 1.1): descriptors, manifests, indexes, configurations, layouts.

Docker's schema 2 documents have the same shape under other media types (docker_image.py), so these types read both.
Field names follow the specification through renames. Documents come from outside: `null` is read as "not there",
unknown fields are dropped, and since an image is identified by the bytes that were received, nothing read here is ever
written back. Pure; used by image/ and by whatever builds a container from an image's configuration.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER + "+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
"""Start of the media types of layers that registries need not hold; deprecated, and still met."""

REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation in an index: the name (layouts: often just the tag) of the manifest."""

MAX_DOCUMENT = 4 << 20
"""Bytes that a manifest, index or configuration may have (distribution spec: registries should refuse more)."""


class Platform(
    Struct, frozen=True, omit_defaults=True, rename={"os_version": "os.version", "os_features": "os.features"}
):
    architecture: str = ""
    os: str = ""
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] | None = None


class Descriptor(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A pointer to content. `digest` is unchecked text: `crio.base.ids.parse_digest` goes before any use of it."""

    media_type: str = ""
    digest: str
    size: int
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str | None = None
    data: str | None = None
    """Base64 of the content itself."""


class Manifest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One image for one platform; `layers` from the base up."""

    schema_version: int = 2
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class Index(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Manifests of one image for several platforms (also Docker's manifest list, and a layout's index.json)."""

    schema_version: int = 2
    media_type: str | None = None
    artifact_type: str | None = None
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class RunConfig(Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """What a container made from the image runs by default."""

    user: str | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | str | None = None
    cmd: tuple[str, ...] | str | None = None
    working_dir: str | None = None
    volumes: dict[str, object] | None = None
    exposed_ports: dict[str, object] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None


class RootFs(Struct, frozen=True):
    diff_ids: tuple[str, ...] | None = None
    type: str = "layers"


class History(Struct, frozen=True, omit_defaults=True):
    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class ImageConfig(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={"os_version": "os.version", "os_features": "os.features"},
):
    """The configuration blob. The digest of its bytes is the image's id."""

    created: str | None = None
    author: str | None = None
    architecture: str = ""
    variant: str | None = None
    os: str = ""
    os_version: str | None = None
    os_features: tuple[str, ...] | None = None
    config: RunConfig | None = None
    rootfs: RootFs | None = None
    history: tuple[History, ...] | None = None

    @property
    def run(self) -> RunConfig:
        return self.config or _NO_RUN_CONFIG

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Digests of the uncompressed layers, from the base up; unchecked text."""
        return (self.rootfs.diff_ids or ()) if self.rootfs else ()

    @property
    def entrypoint(self) -> tuple[str, ...]:
        return _words(self.run.entrypoint)

    @property
    def cmd(self) -> tuple[str, ...]:
        return _words(self.run.cmd)

    @property
    def env(self) -> tuple[str, ...]:
        return self.run.env or ()

    @property
    def user(self) -> str:
        return self.run.user or ""

    @property
    def working_dir(self) -> str:
        return self.run.working_dir or ""

    @property
    def volumes(self) -> tuple[str, ...]:
        return tuple(self.run.volumes or ())

    @property
    def stop_signal(self) -> str:
        return self.run.stop_signal or ""

    @property
    def labels(self) -> dict[str, str]:
        return self.run.labels or {}


_NO_RUN_CONFIG = RunConfig()


def _words(value: tuple[str, ...] | str | None) -> tuple[str, ...]:
    """Very old Docker images have a command line as one text; it is run by a shell."""
    if isinstance(value, str):
        return ("/bin/sh", "-c", value) if value else ()
    return value or ()


decode_config = msgspec.json.Decoder(ImageConfig).decode
"""An ImageConfig from JSON bytes. Raises what `crio.base.jsontext.UNREADABLE` names."""
