"""An image in a store on this machine: containers-storage: names.

The compressed layers are not there any more. So a manifest is made, as for archives of `docker save`: schema 2 with
uncompressed layers, whose digests are the diff ids. The configuration, and with it the image's id, stay what they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import msgspec

from crio.base.errors import InvalidArgument, NotFound
from crio.base.ids import Digest
from crio.image.documents import Served, digest_of, parse_config
from crio.image.errors import BadImage
from crio.image.records import make_info
from crio.image.source.base import StoredContent
from crio.spec import docker_image
from crio.spec.oci_image import Descriptor
from crio.storage.options import DEFAULT_RUNROOT, StoreOptions
from crio.storage.records import ImageRecord
from crio.storage.store import Store

TRANSPORT = "containers-storage"

_STORE = re.compile(r"\[(?:(?P<driver>[a-z0-9]+)@)?(?P<graphroot>/[^\]+:]*)(?:\+(?P<runroot>/[^\]:]*))?(?::[^\]]*)?\]")


class StoredName(msgspec.Struct, frozen=True):
    """What a containers-storage: name says. Empty fields mean the store of the daemon itself."""

    image: str
    driver: str = ""
    graphroot: str = ""
    runroot: str = ""

    def open_store(self) -> Store:
        """The store that it names. Raises NotFound if there is none, and as `Store.open` does."""
        driver = self.driver or "overlay"
        if not os.path.isdir(os.path.join(self.graphroot, f"{driver}-images")):
            raise NotFound(f"cannot open the store {self.graphroot}: there is none of driver {driver}")
        return Store.open(StoreOptions(self.graphroot, self.runroot or DEFAULT_RUNROOT, driver=driver))


def parse_stored_name(text: str) -> StoredName:
    """`[driver@graphroot+runroot:options]name`, where the brackets may be missing. Raises InvalidArgument."""
    match = _STORE.match(text)
    image = text[match.end() :] if match else text
    if not image or image.startswith("["):
        raise InvalidArgument(
            f"cannot use {TRANSPORT}:{text[:300]}: it is not {TRANSPORT}:[driver@graphroot+runroot]name"
        )
    if match is None:
        return StoredName(image)
    return StoredName(image, match["driver"] or "", match["graphroot"], match["runroot"] or "")


class StoredImageSource:
    def __init__(self, store: Store, record: ImageRecord) -> None:
        """Raises BadImage if layers and configuration do not fit together, NotFound if a document is missing."""
        self._store = store
        self._config = _config(store, record)
        diff_ids = parse_config(self._config, record.id[:12]).diff_ids
        chain = store.layer_store.chain(record.layer)[::-1]
        if [layer.diff_digest for layer in chain] != list(diff_ids):
            raise BadImage(f"cannot copy image {record.id[:12]}: its layers are not those of its configuration")
        self._layers = {layer.diff_digest: layer.id for layer in chain}
        self._manifest = msgspec.json.encode(
            {
                "schemaVersion": 2,
                "mediaType": docker_image.MANIFEST,
                "config": _descriptor(docker_image.CONFIG, digest_of(self._config), len(self._config)),
                "layers": [_descriptor(docker_image.LAYER, layer.diff_digest, layer.diff_size) for layer in chain],
            }
        )

    def manifest(self, digest: Digest | None) -> Served:
        return Served(self._manifest, docker_image.MANIFEST)

    def config(self, descriptor: Descriptor) -> bytes:
        return self._config

    def layer(self, descriptor: Descriptor) -> StoredContent:
        return StoredContent(self._tar(self._layers[descriptor.digest]))

    def part(self, descriptor: Descriptor, start: int, stop: int) -> None:
        return None

    def _tar(self, layer_id: str) -> Generator[bytes, None, None]:
        yield from self._store.layer_tar(layer_id)


def _config(store: Store, record: ImageRecord) -> bytes:
    info = make_info(record, 0, False, store.image_big_data)
    return store.image_big_data(record.id, info.config_key())


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, str | int]:
    return {"mediaType": media_type, "size": size, "digest": digest}
