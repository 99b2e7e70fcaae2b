"""The store at the start of the daemon: mended after a crash of the node, rid of what an upgrade made useless.

The rules are those of version_file_persist, clean_shutdown_file, internal_repair and internal_wipe (crio.conf(5)); the
files are read by config/marks.py, and `crio wipe` follows the same rules where the daemon is told not to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from crio.base.errors import CrioError, DataLoss
from crio.config.marks import LastRun
from crio.config.tables.root import Crio
from crio.container.stored import ours
from crio.storage.gc import collect
from crio.storage.options import StoreOptions
from crio.storage.store import Store

log = logging.getLogger(__name__)


def open_store(options: StoreOptions, crio: Crio, last: LastRun) -> Store:
    """The store, without what belongs to nothing; after a crash of the node also without what is damaged, which is
    fetched again when it is needed. If the crash has made it unreadable it is emptied.

    Raises as `Store.open`; FailedPrecondition if it cannot be emptied because something in it is still mounted.
    """
    mend = crio.internal_repair and last.unclean
    try:
        store = Store.open(options)
    except DataLoss as error:
        if not mend:
            raise
        from crio.storage.clearing import clear_storage  # lazy: hardly ever needed

        log.error("the node was not shut down cleanly, and its storage is lost, so it is emptied: %s", error.message)
        for root in dict.fromkeys((options.graphroot, options.imagestore or options.graphroot)):
            clear_storage(root)
        store = Store.open(options)
    try:
        collect(store)
        if mend:
            _mend(store)
    except BaseException:
        store.close()
        raise
    return store


def _mend(store: Store) -> None:
    from crio.storage.check import check, repair  # lazy: only after a crash

    report = check(store, quick=True)
    if report.damages:
        log.warning("the node was not shut down cleanly: %d damaged items in the storage", len(report.damages))
        for left in repair(store, report, remove_containers=True):
            log.error("cannot repair the storage: %s", left)


def outdated_images(store: Store, crio: Crio, last: LastRun) -> set[str]:
    """After an upgrade to another minor version: the images of our containers, to be removed when these are gone."""
    if not (crio.internal_wipe and last.upgraded):
        return set()
    containers = {container.id: container.image for container in store.containers()}
    return {containers[owned.id] for owned in ours(store.containers()) if containers.get(owned.id)}


def remove_images(store: Store, ids: Iterable[str]) -> None:
    """Remove images of an earlier version; those that a container uses stay."""
    for id in ids:
        try:
            store.remove_image(id)
            log.info("removed image %s of an earlier version", id)
        except CrioError as error:
            log.info("image %s of an earlier version stays: %s", id, error.message)
