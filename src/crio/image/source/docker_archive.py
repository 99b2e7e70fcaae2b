"""Archives of `docker save` and `podman save`: manifest.json lists images by their files; there is no real manifest.

One is made, as containers/image makes it: schema 2 with uncompressed layers, whose digests are the diff ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator

import msgspec

from crio.base.ids import Digest
from crio.base.jsontext import UNREADABLE
from crio.image.compression import MAGIC_LENGTH, Compression, detect, expander
from crio.image.documents import Served, digest_of, parse_config
from crio.image.errors import BadContent, BadImage
from crio.image.source.base import StoredContent
from crio.image.source.files import Files
from crio.spec import docker_image
from crio.spec.docker_image import ArchiveImage
from crio.spec.oci_image import MAX_DOCUMENT, Descriptor

LIST_FILE = "manifest.json"
_MAX_IMAGES = 1000


def read_list(files: Files) -> tuple[ArchiveImage, ...]:
    """The images in the archive. Raises BadImage."""
    try:
        images = msgspec.json.decode(files.read(LIST_FILE, MAX_DOCUMENT), type=tuple[ArchiveImage, ...])
    except UNREADABLE as error:
        raise BadImage(f"cannot use {LIST_FILE} of {files.origin}: {error}") from None
    if not images or len(images) > _MAX_IMAGES:
        raise BadImage(f"cannot use {files.origin}: it has {len(images)} images")
    return images


class DockerArchiveSource:
    def __init__(self, files: Files, image: ArchiveImage) -> None:
        """Reads compressed layers once through, because their expanded size goes into the manifest."""
        self._files = files
        self._config = files.read(image.config, MAX_DOCUMENT)
        diff_ids = parse_config(self._config, files.origin).diff_ids
        if len(diff_ids) != len(image.layers):
            raise BadImage(
                f"cannot use {files.origin}: {len(image.layers)} layers, and {len(diff_ids)} in the configuration"
            )
        self._paths = dict(zip(diff_ids, image.layers, strict=True))
        self._manifest = msgspec.json.encode(
            {
                "schemaVersion": 2,
                "mediaType": docker_image.MANIFEST,
                "config": _descriptor(docker_image.CONFIG, digest_of(self._config), len(self._config)),
                "layers": [
                    _descriptor(docker_image.LAYER, diff_id, self._expanded_size(path, diff_id))
                    for diff_id, path in zip(diff_ids, image.layers, strict=True)
                ],
            }
        )

    def manifest(self, digest: Digest | None) -> Served:
        return Served(self._manifest, docker_image.MANIFEST)

    def config(self, descriptor: Descriptor) -> bytes:
        return self._config

    def layer(self, descriptor: Descriptor) -> StoredContent:
        return StoredContent(self._expanded(self._paths[descriptor.digest]))

    def part(self, descriptor: Descriptor, start: int, stop: int) -> None:
        return None

    def _expanded(self, path: str) -> Generator[bytes, None, None]:
        chunks = self._files.stream(path)
        first = next(chunks, b"")
        expand = expander(detect(first[:MAGIC_LENGTH]))
        if first:
            yield from expand.feed(first)
            for chunk in chunks:
                yield from expand.feed(chunk)
        expand.finish()

    def _expanded_size(self, path: str, diff_id: str) -> int:
        head = next(self._files.stream(path), b"")[:MAGIC_LENGTH]
        if detect(head) is Compression.NONE:
            return self._files.size(path)
        size, digest = 0, hashlib.new(diff_id.partition(":")[0])
        for piece in self._expanded(path):
            size += len(piece)
            digest.update(piece)
        if digest.hexdigest() != diff_id.partition(":")[2]:
            raise BadContent(f"cannot use {self._files.origin}: layer {path} is not the one of the configuration")
        return size


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, str | int]:
    return {"mediaType": media_type, "size": size, "digest": digest}
