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

from crio.base.files import TEMPORARY
from crio.base.regex import regex
from crio.storage import tempdirs
from crio.storage.deletion import delete_tree
from crio.storage.records import LayerRecord
from crio.storage.store import Store

log = logging.getLogger(__name__)

_ID = regex(r"[0-9a-f]{64}")
_TAR_SPLIT = regex(r"([0-9a-f]{64})\.tar-split\.gz")
_OF_A_POD = regex(r"k8s_.+-layer")
"""What the layers of a Kubernetes runtime's containers are called."""
_UNFINISHED = regex(re.escape(TEMPORARY) + r".+")


def collect(store: Store) -> list[str]:
    """Remove layers, directories, blobs and half-written files that belong to nothing; the ids and paths that went."""
    removed = _walk(store, remove=True)
    for home in store.driver.writable_homes:
        tempdirs.remove_stale(os.path.join(home, "tempdirs"))
    store.layer_store.trash.empty()
    return removed


def find(store: Store) -> list[str]:
    """What `collect` would remove."""
    return _walk(store, remove=False)


def _walk(store: Store, *, remove: bool) -> list[str]:
    found: list[str] = []
    layers = store.layer_store
    with layers.table.writing() as layer_edit:
        for id in _without_container(store, layer_edit.now.by_id):
            found.append(id)
            if remove:
                log.info("removing layer %s of a container that was never recorded", id)
                layers.remove(layer_edit, [id], lasting=False)
        known = layer_edit.now.by_id
        for id in list(store.driver.layer_ids()):
            if id in known:
                continue
            found.append(id)
            if remove:
                log.info("removing the files of layer %s, which no record names", id)
                layers.unmount(id, wholly=True)
                store.driver.remove(id, layers.discard)
        for directory in layers.directories:
            found += _look(directory, lambda name: _layer_garbage(name, known), known, remove=remove)
        with layers.mounts.writing():
            found += _look(layers.mounts.directory, lambda name: False, (), remove=remove)
        if remove:
            store.driver.repair_links()
    with store.image_store.table.writing() as image_edit:
        for directory in store.image_store.directories:
            found += _look(directory, _is_id, image_edit.now.by_id, remove=remove)
    with store.container_store.table.writing() as container_edit:
        for directory in store.container_store.directories:
            found += _look(directory, _is_id, container_edit.now.by_id, remove=remove)
    return found


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
    return (split is not None and split[1] not in known) or _is_id(name)


def _is_id(name: str) -> bool:
    return _ID.fullmatch(name) is not None


def _look(directory: str, belongs_here: Callable[[str], bool], known: Iterable[str], *, remove: bool) -> list[str]:
    """The entries of one directory that have the form of the store's own and no record; removed, if so wished.

    Half-written index files are always garbage: their writer held the lock that is held now.
    """
    found: list[str] = []
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name in known or not (_UNFINISHED.fullmatch(name) or belongs_here(name)):
            continue
        found.append(path)
        if not remove:
            continue
        log.info("removing %s, which no record names", path)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            delete_tree(path)
        else:
            os.unlink(path)
    return found
