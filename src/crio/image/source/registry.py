"""An image in a registry."""

from __future__ import annotations

from collections.abc import Generator

from crio.base.ids import Digest, parse_digest
from crio.image.documents import Served
from crio.image.registry.client import RegistryClient
from crio.spec import docker_image, oci_image
from crio.spec.oci_image import Descriptor


class RegistrySource:
    def __init__(self, client: RegistryClient, target: str) -> None:
        """`target` is the tag or digest by which the image was asked for."""
        self._client = client
        self._target = target

    def manifest(self, digest: Digest | None) -> Served:
        return self._client.manifest(digest or self._target)

    def config(self, descriptor: Descriptor) -> bytes:
        return self._client.document(parse_digest(descriptor.digest), descriptor.size)

    def layer(self, descriptor: Descriptor) -> Generator[bytes, None, None]:
        foreign = descriptor.media_type.startswith((oci_image.NONDISTRIBUTABLE, docker_image.FOREIGN))
        urls = (descriptor.urls or ()) if foreign else ()
        return self._client.blob(parse_digest(descriptor.digest), descriptor.size or None, urls)
