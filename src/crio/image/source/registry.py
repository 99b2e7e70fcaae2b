"""An image in a registry."""

from __future__ import annotations

from collections.abc import Generator

from crio.base.ids import Digest, parse_digest
from crio.image.cancellation import Cancellation
from crio.image.documents import Served
from crio.image.registry.client import RegistryClient
from crio.image.transfer.fetch import BlobFetch
from crio.image.transfer.kept import KeptBlobs
from crio.spec import docker_image, oci_image
from crio.spec.oci_image import Descriptor


class RegistrySource:
    def __init__(self, client: RegistryClient, target: str, blobs: KeptBlobs | None, scope: Cancellation) -> None:
        """`target` is the tag or digest by which the image was asked for, `blobs` where interrupted layers are kept."""
        self._client = client
        self._target = target
        self._blobs = blobs
        self._scope = scope

    def manifest(self, digest: Digest | None) -> Served:
        return self._client.manifest(digest or self._target)

    def config(self, descriptor: Descriptor) -> bytes:
        return self._client.document(parse_digest(descriptor.digest), descriptor.size)

    def layer(self, descriptor: Descriptor) -> BlobFetch:
        digest, size, urls = parse_digest(descriptor.digest), descriptor.size or None, _urls(descriptor)
        return BlobFetch(self._client, digest, size, urls, self._blobs, self._scope)

    def part(self, descriptor: Descriptor, start: int, stop: int) -> Generator[bytes, None, None]:
        digest = parse_digest(descriptor.digest)
        return self._client.blob(digest, descriptor.size, _urls(descriptor), start, stop, only_ranges=True)


def _urls(descriptor: Descriptor) -> tuple[str, ...]:
    foreign = descriptor.media_type.startswith((oci_image.NONDISTRIBUTABLE, docker_image.FOREIGN))
    return (descriptor.urls or ()) if foreign else ()
