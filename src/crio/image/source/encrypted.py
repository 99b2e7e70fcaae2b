"""An image whose layers are encrypted, as a source of its plain layers."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from crio.base.ids import Digest
from crio.image.documents import Served
from crio.image.source.base import ImageSource, LayerContent
from crio.spec.oci_image import Descriptor

if TYPE_CHECKING:
    from crio.image.decryption.layer import LayerKey

SUFFIX = "+encrypted"
"""End of an encrypted layer's media type."""


def is_encrypted(layers: Iterable[Descriptor]) -> bool:
    return any(layer.media_type.endswith(SUFFIX) for layer in layers)


def unlocked(source: ImageSource, layers: Sequence[Descriptor], keys_directory: str, what: str) -> ImageSource:
    """`source` with its encrypted layers opened by the keys in the directory; itself if it has none.

    Every key is asked for at once, also those of layers that nobody will fetch. Raises PermissionDenied if one is
    missing, BadImage.
    """
    keys = unlock_all(layers, keys_directory, what)
    return EncryptedSource(source, keys) if keys else source


def unlock_all(layers: Sequence[Descriptor], keys_directory: str, what: str) -> Mapping[str, LayerKey]:
    """The keys of the encrypted ones among the layers, by digest. Raises as `unlocked`."""
    if not is_encrypted(layers):
        return {}
    from crio.image.decryption import keys, layer  # lazy: 15 MiB, for encrypted images alone

    node_keys = keys.load(keys_directory) if keys_directory else []
    return {one.digest: layer.unlock(one, node_keys, what) for one in layers if one.media_type.endswith(SUFFIX)}


class EncryptedSource:
    """`keys` are those of the encrypted layers, by their digests; other layers are passed on as they are."""

    def __init__(self, source: ImageSource, keys: Mapping[str, LayerKey]) -> None:
        self._source = source
        self._keys = keys

    def manifest(self, digest: Digest | None) -> Served:
        return self._source.manifest(digest)

    def config(self, descriptor: Descriptor) -> bytes:
        return self._source.config(descriptor)

    def layer(self, descriptor: Descriptor) -> LayerContent:
        content = self._source.layer(descriptor)
        key = self._keys.get(descriptor.digest)
        return content if key is None else EncryptedContent(content, key, f"layer {descriptor.digest}")

    def part(self, descriptor: Descriptor, start: int, stop: int) -> Generator[bytes, None, None] | None:
        # A part alone cannot be authenticated.
        return None if descriptor.digest in self._keys else self._source.part(descriptor, start, stop)


class EncryptedContent:
    """A layer whose bytes come encrypted; `opened` makes plain ones of them."""

    def __init__(self, content: LayerContent, key: LayerKey, what: str) -> None:
        self._content = content
        self._key = key
        self._what = what

    def chunks(self) -> Generator[bytes, None, None]:
        return self._content.chunks()

    def opened(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        return self._key.decrypted(chunks, self._what)

    def settle(self) -> bool:
        return self._content.settle()

    def leave(self) -> None:
        self._content.leave()
