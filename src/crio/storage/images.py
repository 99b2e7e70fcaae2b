"""Images: records with names, a top layer, and the blobs that belong to them.

Methods that take an `Edit` are called by store.py with the images' lock held for writing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence

from crio.base.errors import InvalidArgument, NotFound
from crio.base.failpoints import failpoint
from crio.base.ids import resolve_prefix
from crio.storage import bigdata
from crio.storage.deletion import delete_tree
from crio.storage.indexfile import IndexFile, Syncer
from crio.storage.locks import LockFile
from crio.storage.records import ImageRecord, replaced
from crio.storage.table import Edit, RecordTable, Snapshot


class ImageStore:
    """The images of one writable store and of the read-only stores behind it."""

    def __init__(self, directory: str, *, others: Sequence[str], syncer: Syncer | None, timeout: float) -> None:
        """`directory` is `G/<driver>-images`, or the imagestore's; `others` are the read-only stores'."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.directory = directory
        self.table = _table(directory, read_only=False, syncer=syncer, timeout=timeout)
        self._others = [(place, _table(place, read_only=True, syncer=None, timeout=timeout)) for place in others]

    def close(self) -> None:
        self.table.close()
        for _, table in self._others:
            table.close()

    def snapshots(self) -> list[tuple[str, Snapshot[ImageRecord]]]:
        """(directory, records) of every store, the writable one first."""
        return [(self.directory, self.table.snapshot())] + [(place, table.snapshot()) for place, table in self._others]

    def all(self) -> list[ImageRecord]:
        found: dict[str, ImageRecord] = {}
        for _, snapshot in self.snapshots():
            for record in snapshot.by_id.values():
                found.setdefault(record.id, record)
        return list(found.values())

    def find(self, id_or_name: str) -> ImageRecord | None:
        for _, snapshot in self.snapshots():
            record = snapshot.find(id_or_name)
            if record is not None:
                return record
        return None

    def get(self, id_or_name: str) -> ImageRecord:
        """By id, name, or unambiguous prefix of an id."""
        record = self.find(id_or_name)
        if record is None:
            ids = {image.id: image for image in self.all()}
            record = ids[resolve_prefix("image", id_or_name, ids)]
        return record

    def read(self, id: str, key: str) -> bytes:
        """One blob. Raises NotFound."""
        for directory, snapshot in self.snapshots():
            record = snapshot.by_id.get(id)
            if record is not None:
                return bigdata.read(os.path.join(directory, id), key, f"image {id}")
        raise NotFound(f"cannot find image {id}: no such id")

    def put(
        self,
        edit: Edit[ImageRecord],
        id: str,
        *,
        layer: str,
        names: Iterable[str],
        digest: str,
        created: str,
        metadata: str,
        big_data: Mapping[str, bytes],
        durable: bool,
    ) -> ImageRecord:
        """Add an image, or names and blobs to one that is there. Blobs first: the record never promises too much."""
        directory = os.path.join(self.directory, id)
        for key, data in big_data.items():
            bigdata.write(directory, key, data, durable=durable)
        failpoint("storage.image.blobs")
        old = edit.now.by_id.get(id)
        sizes, digests = dict(old.big_data_sizes if old else {}), dict(old.big_data_digests if old else {})
        order = list(old.big_data_names if old else [])
        for key, data in big_data.items():
            sizes[key] = len(data)
            digests[key] = f"sha256:{hashlib.sha256(data).hexdigest()}"
            if key not in order:
                order.append(key)
        if old is None:
            record = ImageRecord(id=id, created=created, layer=layer, digest=digest, metadata=metadata)
        else:
            record = replaced(old, digest=digest or old.digest, metadata=metadata or old.metadata)
        record = replaced(record, big_data_names=order, big_data_sizes=sizes, big_data_digests=digests)
        edit.put(record)
        record = self.set_names(edit, id, [*record.names, *names])
        edit.save()
        return record

    def set_names(self, edit: Edit[ImageRecord], id: str, names: Iterable[str]) -> ImageRecord:
        """Give an image exactly these names; other images lose theirs. The caller saves."""
        wanted = list(dict.fromkeys(names))
        if any(not name or "\0" in name for name in wanted):
            raise InvalidArgument(f"cannot name image {id}: a name is empty")
        for name in wanted:
            owner = edit.now.by_name.get(name)
            if owner is not None and owner != id:
                loser = edit.now.by_id[owner]
                edit.put(replaced(loser, names=[other for other in loser.names if other != name]))
        record = edit.now.by_id[id]
        history = list(dict.fromkeys([*reversed(wanted), *record.names_history]))
        if wanted != record.names or history != record.names_history:
            record = replaced(record, names=wanted, names_history=history)
            edit.put(record)
        return record

    def remove(self, edit: Edit[ImageRecord], id: str) -> None:
        edit.drop(id)
        edit.save()
        failpoint("storage.image.dropped")
        delete_tree(os.path.join(self.directory, id))


def _table(directory: str, *, read_only: bool, syncer: Syncer | None, timeout: float) -> RecordTable[ImageRecord]:
    lock = LockFile(os.path.join(directory, "images.lock"), read_only=read_only, timeout=timeout)
    return RecordTable(ImageRecord, [lock], [IndexFile(os.path.join(directory, "images.json"), syncer=syncer)])
