"""Mounts of a store's containers, one user at a time, as another tool counts them."""

from __future__ import annotations

from crio.storage.store import Store


def users(store: Store, container: str) -> int:
    """How many users the container's mount has."""
    present = store.layer_store.mounts.read().get(store.container(container).layer)
    return present.count if present else 0


def unmount(store: Store, container: str, *, wholly: bool = False) -> bool:
    """Count one user less, or none at all with `wholly`; whether it is still mounted."""
    layer = store.container(container).layer
    with store.layer_store.table.writing():
        return store.layer_store.unmount(layer, wholly=wholly)
