"""Garbage: what lies in the store's directories and no record names. Removed at every start of the daemon.

Each kind is looked at under its own lock, so that what another tool is just making is never taken for garbage. Only
names of the store's own form are touched.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping

from crio.storage import tempdirs
from crio.storage.deletion import delete_tree
from crio.storage.records import LayerRecord
from crio.storage.store import Store

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{64}")
_TAR_SPLIT = re.compile(r"([0-9a-f]{64})\.tar-split\.gz")
_OF_A_POD = re.compile(r"k8s_.+-layer")
"""What the layers of a Kubernetes runtime's containers are called."""
_UNFINISHED = re.compile(r"\.tmp-.+")


def collect(store: Store) -> list[str]:
    """Remove layers, directories, blobs and half-written files that belong to nothing; the ids and paths that went."""
    removed: list[str] = []
    layers = store.layer_store
    with layers.table.writing() as layer_edit:
        for id in _without_container(store, layer_edit.now.by_id):
            log.info("removing layer %s of a container that was never recorded", id)
            layers.remove(layer_edit, [id], lasting=False)
            removed.append(id)
        known = layer_edit.now.by_id
        for id in list(store.driver.layer_ids()):
            if id not in known:
                log.info("removing the files of layer %s, which no record names", id)
                layers.unmount(id, wholly=True)
                store.driver.remove(id, layers.discard)
                removed.append(id)
        for directory in layers.directories:
            removed += _remove(directory, lambda name: _layer_garbage(name, known), layer_edit.now.by_id)
        store.driver.repair_links()
    with store.image_store.table.writing() as image_edit:
        images = image_edit.now.by_id
        for directory in store.image_store.directories:
            removed += _remove(directory, lambda name: bool(_ID.fullmatch(name)), images)
    with store.container_store.table.writing() as container_edit:
        containers = container_edit.now.by_id
        for directory in store.container_store.directories:
            removed += _remove(directory, lambda name: bool(_ID.fullmatch(name)), containers)
    for home in store.driver.writable_homes:
        tempdirs.remove_stale(os.path.join(home, "tempdirs"))
    layers.trash.empty()
    return removed


def _without_container(store: Store, layers: Mapping[str, LayerRecord]) -> list[str]:
    """Containers' layers whose maker died before it recorded the container; with the layers' lock held."""
    with store.container_store.table.reading() as containers:
        used = {container.layer for container in containers.by_id.values()}
    used.update(layer.parent for layer in layers.values())
    return [
        layer.id
        for layer in layers.values()
        if layer.id not in used and layer.names and all(_OF_A_POD.fullmatch(name) for name in layer.names)
    ]


def _layer_garbage(name: str, known: Iterable[str]) -> bool:
    split = _TAR_SPLIT.fullmatch(name)
    return (split is not None and split[1] not in known) or bool(_ID.fullmatch(name))


def _remove(directory: str, belongs_here: Callable[[str], bool], known: Iterable[str]) -> list[str]:
    """Remove the entries of one directory that have the form of the store's own and no record.

    Half-written index files are always garbage: their writer held the lock that is held now.
    """
    removed: list[str] = []
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name in known or not (_UNFINISHED.fullmatch(name) or belongs_here(name)):
            continue
        log.info("removing %s, which no record names", path)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            delete_tree(path)
        else:
            os.unlink(path)
        removed.append(path)
    return removed
