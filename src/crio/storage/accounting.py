"""What images take, from their records: instant however many there are, and without a walk through their files."""

from __future__ import annotations

from collections.abc import Iterable

from crio.base.errors import NotFound
from crio.storage.driver.base import Driver
from crio.storage.records import ImageRecord, LayerRecord, replaced
from crio.storage.table import RecordTable
from crio.storage.usage import Usage, measure

INODES_FLAG = "io.cri-o.inodes"
"""In a layer's flags: how many inodes its files take. Other tools keep flags that they do not know."""


def image_size(image: ImageRecord, layers: Iterable[LayerRecord]) -> int:
    """Bytes of an image's blobs and of the uncompressed tars of its `layers`."""
    return sum(image.big_data_sizes.values()) + sum(max(layer.diff_size, 0) for layer in layers)


class Accounts:
    """Sizes; inodes of layers that other tools made are counted once and then kept in the layer's record."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._counted: dict[str, int] = {}
        """Inodes by layer, where the record does not tell."""
        self._copies: dict[str, Usage] = {}

    def all_images(self, images: Iterable[ImageRecord], layers: Iterable[LayerRecord]) -> Usage:
        """Bytes and inodes of all blobs and all layers of images; containers' layers are not counted."""
        total = inodes = 0
        for image in images:
            total += sum(image.big_data_sizes.values())
            inodes += len(image.big_data_names) + 1
        for layer in layers:
            if layer.diff_digest or layer.toc_digest:
                total += max(layer.diff_size, 0)
                inodes += self._inodes(layer)
        return Usage(total, inodes)

    def container(self, layer: LayerRecord) -> Usage:
        """What was written into a container's layer; walks its files."""
        usage = measure(self._driver.writable_directory(layer.id))
        if self._driver.layers_apart or not layer.parent:
            return usage
        # It began as a copy of the layers below, which never change.
        copy = self._copies.get(layer.parent)
        if copy is None:
            copy = self._copies[layer.parent] = measure(self._driver.own_directories(layer.parent)[0])
        return Usage(max(usage.bytes - copy.bytes, 0), max(usage.inodes - copy.inodes, 0))

    def keep_counts(self, table: RecordTable[LayerRecord]) -> None:
        """Put what `all_images` has counted into the layers' records."""
        if not self._counted:
            return
        counted, self._counted = self._counted, {}
        with table.writing() as edit:
            for id in counted.keys() & edit.now.by_id.keys():
                layer = edit.now.by_id[id]
                edit.put(replaced(layer, flags={**layer.flags, INODES_FLAG: counted[id]}))
            edit.save(lasting=False)

    def _inodes(self, layer: LayerRecord) -> int:
        known = layer.flags.get(INODES_FLAG, self._counted.get(layer.id))
        if isinstance(known, int):
            return known
        try:
            count = measure(self._driver.own_directories(layer.id)[0]).inodes
        except (OSError, NotFound):
            return 0
        self._counted[layer.id] = count
        return count
