"""Layers: their records, directories and mounts.

Methods that take an `Edit` are called with the layers' lock held for writing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from crio.base.errors import FailedPrecondition, NotFound
from crio.base.failpoints import failpoint
from crio.base.files import sync_directory
from crio.storage import records, tempdirs
from crio.storage.accounting import INODES_FLAG
from crio.storage.driver.base import Driver, MountOptions
from crio.storage.idmaps import IdMaps, shift_tree
from crio.storage.indexfile import IndexFile, Syncer
from crio.storage.locks import LockFile
from crio.storage.mounts import MountTable
from crio.storage.others import OtherStore
from crio.storage.records import LayerRecord, MountRecord, replaced
from crio.storage.table import Edit, RecordTable, Snapshot
from crio.storage.trash import Trash

if TYPE_CHECKING:
    from crio.storage.writer import LayerFacts, StagedLayer

log = logging.getLogger(__name__)

STABLE, VOLATILE, IMAGES = 0, 1, 2
"""Index files: the one of old, the one of newer tools for what ends with the uptime, and the imagestore's."""


class LayerGone(NotFound):
    """A layer on which something was to stand does not exist; if it did before, another tool has removed it since."""


class LayerStore:
    """The layers of one writable store and of the read-only stores behind it."""

    def __init__(
        self,
        directory: str,
        driver: Driver,
        mounts: MountTable,
        trash: Trash,
        *,
        image_directory: str | None,
        others: Sequence[str],
        transient_directory: str | None,
        syncer: Syncer | None,
        timeout: float,
    ) -> None:
        """`directory` is `G/<driver>-layers`; `image_directory` the imagestore's, `others` the read-only stores'.

        `transient_directory`, if given, takes the records of all containers' layers.
        """
        self.directory = directory
        self.driver = driver
        self.mounts = mounts
        self.trash = trash
        self._sync = syncer is not None
        self._content_directory = image_directory or directory
        self.directories = list(dict.fromkeys((directory, self._content_directory)))
        locks, files = [], []
        for place in (directory, image_directory):
            if place is not None:
                os.makedirs(place, mode=0o700, exist_ok=True)
                locks.append(LockFile(os.path.join(place, "layers.lock"), timeout=timeout))
        self._volatile_path = os.path.join(transient_directory or directory, "volatile-layers.json")
        self._transient = transient_directory is not None
        files.append(IndexFile(os.path.join(directory, "layers.json"), syncer=syncer))
        files.append(IndexFile(self._volatile_path, syncer=None))
        if image_directory is not None:
            files.append(IndexFile(os.path.join(image_directory, "layers.json"), syncer=syncer))
        self.image_file = IMAGES if image_directory is not None else STABLE
        self.table: RecordTable[LayerRecord] = RecordTable(LayerRecord, locks, files)
        self._others = [
            OtherStore(LayerRecord, place, "layers", extra=("volatile-layers.json",), timeout=timeout)
            for place in others
        ]
        self._index: tuple[Snapshot[LayerRecord], dict[str, list[LayerRecord]]] | None = None
        self._bin: tempdirs.TempDir | None = None

    def close(self) -> None:
        if self._bin is not None:
            self._bin.close()
            self._bin = None
        self.table.close()
        for other in self._others:
            other.close()

    # Reading

    def all(self) -> list[LayerRecord]:
        """Every layer, those of the writable store first; incomplete ones are left out."""
        found: dict[str, LayerRecord] = {}
        for snapshot in self._snapshots():
            for record in snapshot.by_id.values():
                if not record.incomplete:
                    found.setdefault(record.id, record)
        return list(found.values())

    def find(self, id: str) -> LayerRecord | None:
        """By full id or by name."""
        for snapshot in self._snapshots():
            record = snapshot.find(id)
            if record is not None:
                return record
        return None

    def get(self, id: str) -> LayerRecord:
        record = self.find(id)
        if record is None:
            raise NotFound(f"cannot find layer {id}: no such id or name")
        return record

    def find_content(self, parent: str | None, diff_id: str) -> LayerRecord | None:
        """The layer with this content on top of `parent`, if it is there and not visibly damaged."""
        record = self.find(records.layer_id(parent, diff_id))
        if record is not None:
            return record if self._is_whole(record) else None
        wanted = (parent or "", diff_id)
        same = (layer for layer in self.all() if (layer.parent, layer.diff_digest) == wanted and not layer.uidmap)
        return next(filter(self._is_whole, same), None)

    def _is_whole(self, layer: LayerRecord) -> bool:
        return not layer.incomplete and self.driver.is_whole(layer.id)

    def chain(self, id: str) -> list[LayerRecord]:
        """The layer and its parents, top first. Raises NotFound if one is missing or they form a circle."""
        found: list[LayerRecord] = []
        seen: set[str] = set()
        while id:
            if id in seen:
                raise NotFound(f"cannot follow the parents of layer {id}: they form a circle")
            seen.add(id)
            record = self.get(id)
            found.append(record)
            id = record.parent
        return found

    def children(self, edit: Edit[LayerRecord], id: str) -> list[str]:
        return [layer.id for layer in edit.now.by_id.values() if layer.parent == id]

    def tar_split_path(self, id: str) -> str:
        """Where the layer's tar-split data are, if it has any."""
        name = f"{id}.tar-split.gz"
        for directory in (self._content_directory, self.directory, *(other.directory for other in self._others)):
            path = os.path.join(directory, name)
            if os.path.exists(path):
                return path
        return os.path.join(self._content_directory, name)

    def is_read_only(self, id: str) -> bool:
        """Whether only a read-only store has it."""
        return id not in self.table.snapshot().by_id

    def _snapshots(self) -> Iterator[Snapshot[LayerRecord]]:
        yield self.table.snapshot()
        for other in self._others:
            yield other.snapshot()

    # Writing

    def staging(self) -> tempdirs.TempDir:
        """This process's staging directory for tar-split data, beside their place."""
        if self._bin is None:
            self._bin = tempdirs.TempDir(os.path.join(self._content_directory, "tmp"))
        return self._bin

    def clean(self) -> list[str]:
        """Remove what writers left that died: incomplete layers and staging directories; what went, in words."""
        places = [os.path.join(directory, "tmp") for directory in self.directories]
        places += [os.path.join(home, "tempdirs") for home in self.driver.writable_homes]
        removed = [f"unfinished work in {place}" for place in places if tempdirs.remove_stale(place)]
        if not any(record.incomplete for record in self.table.snapshot().by_id.values()):
            return removed
        with self.table.writing() as edit:
            dead = [record.id for record in edit.now.by_id.values() if record.incomplete]
            for id in dead:
                log.warning("removing layer %s, whose writer died before it was complete", id)
                self._remove_content(id)
                edit.drop(id)
            edit.save()
        self.trash.empty()
        return removed + [f"layer {id}, which was not complete" for id in dead]

    def commit(self, staged: StagedLayer, facts: LayerFacts) -> LayerRecord:
        """Put an unpacked layer into place, or find that it is there. Raises LayerGone if its parent is not."""
        id = records.layer_id(facts.parent, staged.diff_id)
        with self.table.writing() as edit:
            damaged = edit.now.by_id.get(id)
            existing = damaged or self.find(id)
            if existing is not None and self._is_whole(existing):
                return existing
            if facts.parent and self.find(facts.parent) is None:
                raise LayerGone(f"cannot add layer {id}: its parent {facts.parent} does not exist")
            record = LayerRecord(
                id=id,
                parent=facts.parent or "",
                created=records.now(),
                diff_digest=staged.diff_id,
                diff_size=staged.diff_size,
                compressed_diff_digest=facts.compressed_digest or staged.diff_id,
                compressed_size=facts.compressed_size or staged.diff_size,
                compression=facts.compression,
                uidset=staged.uids,
                gidset=staged.gids,
                flags={INODES_FLAG: staged.inodes},
            )
            try:
                self._add_image_layer(edit, record, staged)
                if existing is not None:
                    log.warning("layer %s was damaged and is replaced", id)
                # There are some if it is one that was lost, even if its record was lost as well.
                self._rebase_children(edit, id)
            except BaseException:
                self._undo_commit(edit, id, damaged)
                raise
        self.trash.empty()
        return record

    def _undo_commit(self, edit: Edit[LayerRecord], id: str, damaged: LayerRecord | None) -> None:
        try:
            if damaged is not None:
                # Other layers stand on it: it stays what it was, damaged.
                edit.put(damaged)
                edit.save()
            elif id in edit.now.by_id:
                self.remove(edit, [id])
        except OSError as error:
            log.warning("layer %s stays incomplete until the next start: %s", id, error)

    def _add_image_layer(self, edit: Edit[LayerRecord], record: LayerRecord, staged: StagedLayer) -> None:
        """Make a layer that must survive everything: marked incomplete, filled, then marked whole."""
        edit.put(replaced(record, flags={**record.flags, "incomplete": True}), file=self.image_file)
        edit.save()
        failpoint("storage.layer.marked")
        parent = record.parent or None
        self.driver.create(record.id, parent, staged=staged.content, image=True, discard=self.discard)
        os.rename(staged.tar_split, os.path.join(self._content_directory, f"{record.id}.tar-split.gz"))
        if self._sync:
            self.driver.sync(record.id)
            sync_directory(self._content_directory)
        failpoint("storage.layer.filled")
        edit.put(record)
        edit.save()
        failpoint("storage.layer.whole")

    def _rebase_children(self, edit: Edit[LayerRecord], id: str) -> None:
        """After a layer's directory was made anew: every layer above learns its new short name.

        But for those above another one that is lost: they learn both when that one is back.
        """
        waiting = [id]
        while waiting:
            parent = waiting.pop()
            for child in self.children(edit, parent):
                if self.driver.is_whole(child):
                    self.driver.rebase(child, parent)
                    waiting.append(child)

    def add_container_layer(self, edit: Edit[LayerRecord], record: LayerRecord, *, volatile: bool) -> None:
        """Make a container's writable layer. Its directory comes first: one that no record names is garbage."""
        self.driver.create(record.id, record.parent or None, staged=None, image=False, discard=self.discard)
        failpoint("storage.container_layer.made")
        in_use = os.path.exists(self._volatile_path)
        edit.put(record, file=VOLATILE if self._transient or (volatile and in_use) else STABLE)
        edit.save(lasting=not volatile)

    def remove(self, edit: Edit[LayerRecord], ids: Iterable[str], *, lasting: bool = True) -> None:
        """Remove layers, children before parents. The files go at the next `trash.empty`.

        A lasting one is marked incomplete first, so that every tool finishes the work of a writer that died. Without
        `lasting`, for layers that end with the uptime, one write must do, and the record goes first: files without a
        record are garbage (`gc.py`), and the disk is not waited for.
        """
        ids = list(ids)
        for id in ids:
            self._unmount_wholly(id)
        if not lasting:
            self._drop(edit, ids, lasting=False)
        else:
            for id in ids:
                record = edit.now.by_id[id]
                edit.put(replaced(record, flags={**record.flags, "incomplete": True}))
            edit.save()
        failpoint("storage.layer.remove.marked")
        for id in ids:
            self._remove_content(id)
        failpoint("storage.layer.remove.gone")
        if lasting:
            self._drop(edit, ids, lasting=True)

    def _drop(self, edit: Edit[LayerRecord], ids: Iterable[str], *, lasting: bool) -> None:
        for id in ids:
            edit.drop(id)
        edit.save(lasting=lasting)

    def _remove_content(self, id: str) -> None:
        self._unmount_wholly(id)
        self.driver.remove(id, self.discard)
        for directory in self.directories:
            for name in (f"{id}.tar-split.gz", id):
                path = os.path.join(directory, name)
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    continue
                except (IsADirectoryError, PermissionError):
                    for blob in os.listdir(path):
                        os.unlink(os.path.join(path, blob))
                    os.rmdir(path)

    def discard(self, path: str) -> None:
        """Move a layer's directory to the trash that lies on the same file system."""
        home = next(home for home in self.driver.writable_homes if path.startswith(home + "/"))
        self.trash.discard(path, home)

    # Mounting

    def mount(self, id: str, options: MountOptions) -> str:
        """Mount a layer or count one more user of its mount; with the lock held for writing."""
        with self.mounts.writing() as mounts:
            present = mounts.get(id)
            if not mounts:
                self.driver.attach_home()
            if present is not None and self.driver.is_mounted(id):
                mounts[id] = MountRecord(id, present.path, present.count + 1)
                return present.path
            path = self.driver.mount(id, options)
            failpoint("storage.mounted")
            mounts[id] = MountRecord(id, path, (present.count if present else 0) + 1)
            return path

    def shift_owners(self, id: str, maps: IdMaps, options: MountOptions, *, lasting: bool) -> None:
        """Give a container's own layer the owners of its user namespace. No lock is held for the long part."""
        with self.table.writing():
            path = self.mount(id, replace(options, read_only=False))
        try:
            shift_tree(path, maps)
        finally:
            with self.table.writing():
                self.unmount(id)
        with self.table.writing() as edit:
            layer = edit.now.by_id[id]
            edit.put(replaced(layer, uidmap=list(maps.uids), gidmap=list(maps.gids)))
            edit.save(lasting=lasting)

    def attach_home(self) -> None:
        """Once at the start: see `Driver.attach_home`."""
        with self.table.writing(), self.mounts.writing() as mounts:
            if not mounts:
                self.driver.attach_home()

    def release_home(self) -> None:
        """Undo that, if nobody has anything mounted."""
        with self.table.writing(), self.mounts.writing() as mounts:
            if not mounts:
                self.driver.release_home()

    def unmount(self, id: str, *, wholly: bool = False) -> bool:
        """Take one user away, or all; whether the layer is still mounted. With the lock held for writing."""
        with self.mounts.writing() as mounts:
            present = mounts.get(id)
            if present is not None and present.count > 1 and not wholly:
                mounts[id] = MountRecord(id, present.path, present.count - 1)
                return True
            self.driver.unmount(id)
            failpoint("storage.unmounted")
            mounts.pop(id, None)
            return False

    def _unmount_wholly(self, id: str) -> None:
        if id in self.mounts.read() or self.driver.is_mounted(id):
            self.unmount(id, wholly=True)

    def check_unused(self, edit: Edit[LayerRecord], id: str) -> None:
        """Raises FailedPrecondition if another layer stands on this one."""
        children = self.children(edit, id)
        if children:
            raise FailedPrecondition(f"cannot remove layer {id}: layer {children[0]} stands on it")


def unused_chain(layers: Mapping[str, LayerRecord], tops: Sequence[str], used: set[str]) -> list[str]:
    """The layers of a removed image that nothing uses, children before parents."""
    children: dict[str, int] = {}
    for layer in layers.values():
        children[layer.parent] = children.get(layer.parent, 0) + 1
    doomed: list[str] = []
    for top in reversed(tops):
        id = top
        while id and id in layers and id not in used and not children.get(id) and id not in doomed:
            doomed.append(id)
            id = layers[id].parent
            children[id] = children.get(id, 0) - 1
    return doomed
