"""Data that belong to a layer, in the place where containers/storage keeps them: `<driver>-layers/ID/KEY`.

They go with the layer, whoever removes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from crio.base.errors import NotFound
from crio.storage import bigdata, records
from crio.storage.store import Store


def write(store: Store, layer_id: str, key: str, data: bytes) -> None:
    """Add an item to a layer of the writable store. Raises NotFound if the layer is not there, OSError."""
    layers = store.layer_store
    with layers.table.writing() as edit:
        record = edit.now.by_id.get(layer_id)
        if record is None:
            raise NotFound(f"cannot keep {key} of layer {layer_id}: no such id in the writable store")
        bigdata.write(os.path.join(layers.directories[-1], layer_id), key, data, durable=False)
        if key not in record.big_data_names:
            edit.put(records.replaced(record, big_data_names=[*record.big_data_names, key]))
            edit.save(lasting=False)


def read(store: Store, layer_id: str, key: str) -> bytes:
    """An item of a layer, at most 64 MiB. Raises NotFound, ResourceExhausted, OSError."""
    for directory in store.layer_store.directories:
        try:
            return bigdata.read(os.path.join(directory, layer_id), key, f"layer {layer_id}")
        except NotFound:
            continue
    raise NotFound(f"cannot read {key!r} of layer {layer_id}: there is no such data")


def holders(store: Store, key: str) -> Iterator[str]:
    """Ids of the layers that have such an item, the newest first."""
    for record in sorted(store.layers(), key=lambda layer: layer.created, reverse=True):
        if key in record.big_data_names:
            yield record.id
