"""Images: records with names, a top layer, and the blobs that belong to them.

Methods that take an `Edit` are called by store.py with the images' lock held for writing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from crio.base.errors import InvalidArgument, NotFound
from crio.base.failpoints import failpoint
from crio.base.ids import resolve_prefix
from crio.storage import bigdata
from crio.storage.deletion import delete_tree
from crio.storage.indexfile import IndexFile, Syncer
from crio.storage.locks import LockFile
from crio.storage.others import OtherStore
from crio.storage.records import ImageRecord, replaced
from crio.storage.table import Edit, RecordTable, Snapshot


class ImageStore:
    """The images of one writable store, which may lie in two places, and of the read-only stores behind it."""

    def __init__(
        self, directories: Sequence[str], *, others: Sequence[str], syncer: Syncer | None, timeout: float
    ) -> None:
        """`directories` are `G/<driver>-images` and, if images are kept apart, the imagestore's; new ones go to the
        last. `others` are the read-only stores'.
        """
        for directory in directories:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        self.directories = directories
        locks = [LockFile(os.path.join(place, "images.lock"), timeout=timeout) for place in directories]
        files = [IndexFile(os.path.join(place, "images.json"), syncer=syncer) for place in directories]
        self.table: RecordTable[ImageRecord] = RecordTable(ImageRecord, locks, files)
        self._others = [OtherStore(ImageRecord, place, "images", timeout=timeout) for place in others]

    def close(self) -> None:
        self.table.close()
        for other in self._others:
            other.close()

    def snapshots(self) -> Iterator[Snapshot[ImageRecord]]:
        """The records of every store, the writable one first."""
        yield self.table.snapshot()
        for other in self._others:
            yield other.snapshot()

    def is_read_only(self, id: str) -> bool:
        """Whether only a read-only store has it."""
        return id not in self.table.snapshot().by_id

    def all(self) -> list[ImageRecord]:
        found: dict[str, ImageRecord] = {}
        for snapshot in self.snapshots():
            for record in snapshot.by_id.values():
                found.setdefault(record.id, record)
        return list(found.values())

    def find(self, id_or_name: str) -> ImageRecord | None:
        for snapshot in self.snapshots():
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
        own = self.table.snapshot()
        if id in own.by_id:
            return bigdata.read(self._data_directory(own, id), key, f"image {id}")
        for other in self._others:
            if id in other.snapshot().by_id:
                return bigdata.read(os.path.join(other.directory, id), key, f"image {id}")
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
        directory = self._data_directory(edit.now, id)
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
        edit.put(record, file=len(self.directories) - 1)
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
        directory = self._data_directory(edit.now, id)
        edit.drop(id)
        edit.save()
        failpoint("storage.image.dropped")
        delete_tree(directory)

    def _data_directory(self, snapshot: Snapshot[ImageRecord], id: str) -> str:
        """Where an image's blobs are, or where a new one's go."""
        return os.path.join(self.directories[snapshot.files.get(id, len(self.directories) - 1)], id)
