"""One kind of records, in memory: loaded from its index files, and kept as long as their lock's token says so.

A reader asks `snapshot()`: while nobody has written that costs one or two system calls and no lock, and a writer that
takes its time, as older podman does while it unpacks a layer, keeps no reader waiting. A writer works inside
`writing()`, which loads again under the lock before anything is changed, so that a cached copy never overwrites another
tool's work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Generic

from crio.base.errors import NotFound
from crio.base.ids import resolve_prefix
from crio.storage import records
from crio.storage.indexfile import IndexFile
from crio.storage.locks import LockFile
from crio.storage.records import R


class Snapshot(Generic[R]):
    """The records at one moment. Never changes; two threads may use it."""

    __slots__ = ("_by_name", "by_id", "files", "raws")

    def __init__(self, by_id: dict[str, R], raws: dict[str, bytes], files: dict[str, int]) -> None:
        self.by_id = by_id
        self.raws = raws
        self.files = files
        self._by_name: dict[str, str] | None = None

    @property
    def by_name(self) -> dict[str, str]:
        """Name to id; of two records with one name the later one has it."""
        if self._by_name is None:
            self._by_name = {name: record.id for record in self.by_id.values() for name in record.names}
        return self._by_name

    def find(self, id_or_name: str) -> R | None:
        """By full id, else by name."""
        return self.by_id.get(id_or_name) or self.by_id.get(self.by_name.get(id_or_name, ""))

    def lookup(self, kind: str, id_or_name: str) -> R:
        """By id, name or unambiguous prefix of an id. Raises NotFound, or InvalidArgument if several ids fit."""
        record = self.find(id_or_name)
        if record is None:
            record = self.by_id[resolve_prefix(kind, id_or_name, self.by_id)]
        return record


class RecordTable(Generic[R]):
    """The records of one lock: in one file, or in several where the first that has an id wins."""

    def __init__(self, kind: type[R], locks: Sequence[LockFile], files: Sequence[IndexFile]) -> None:
        self._kind = kind
        self._locks = locks
        self.files = files
        self._snapshot: Snapshot[R] = Snapshot({}, {}, {})
        self._seen: object = None
        self._passing: tuple[object, Snapshot[R]] | None = None
        """What was last read without the lock. Nobody writes on the grounds of it."""

    def close(self) -> None:
        for lock in self._locks:
            lock.close()

    def snapshot(self) -> Snapshot[R]:
        """The records as they are on disk, never waiting for a lock. Raises DataLoss if a file is damaged."""
        snapshot, state = self._snapshot, self._state()
        if self._seen == state:
            return snapshot
        with contextlib.ExitStack() as stack:
            if all(stack.enter_context(lock.try_read()) for lock in self._locks):
                self._refresh()
                return self._snapshot
        # Files are replaced as a whole, so that each can be read at any moment.
        passing = self._passing
        if passing is None or passing[0] != state:
            passing = self._passing = state, self._load()
        return passing[1]

    @contextlib.contextmanager
    def reading(self) -> Iterator[Snapshot[R]]:
        """Hold the lock shared, with the current records."""
        with contextlib.ExitStack() as stack:
            for lock in self._locks:
                stack.enter_context(lock.read())
            self._refresh()
            yield self._snapshot

    @contextlib.contextmanager
    def writing(self) -> Iterator[Edit[R]]:
        """Hold the lock alone. Changes that were not saved are forgotten."""
        with contextlib.ExitStack() as stack:
            for lock in self._locks:
                stack.enter_context(lock.write())
            self._refresh()
            yield Edit(self, self._snapshot)

    def _state(self) -> object:
        return [lock.token() for lock in self._locks], [file.stamp() for file in self.files]

    def _refresh(self) -> None:
        state = self._state()
        if self._seen == state:
            return
        self._snapshot = self._load()
        self._seen = state
        self._passing = None

    def _load(self) -> Snapshot[R]:
        old = self._snapshot
        known = {raw: old.by_id[id] for id, raw in old.raws.items()}
        by_id: dict[str, R] = {}
        raws: dict[str, bytes] = {}
        files: dict[str, int] = {}
        for index, file in enumerate(self.files):
            for item in file.load():
                raw = bytes(item)
                record = known.get(raw) or records.decode(self._kind, raw, file.path)
                if record.id not in by_id:
                    by_id[record.id], raws[record.id], files[record.id] = record, raw, index
        return Snapshot(by_id, raws, files)

    def heal(self) -> None:
        """Write again what could only be loaded from its second name."""
        self.snapshot()
        if any(file.recovered for file in self.files):
            with self.writing() as edit:
                edit.rewrite({index for index, file in enumerate(self.files) if file.recovered})

    def _replace(self, snapshot: Snapshot[R], changed: set[int], *, lasting: bool) -> None:
        for lock in self._locks:
            lock.touch()
        for index in sorted(changed):
            rows = [snapshot.raws[id] for id, where in snapshot.files.items() if where == index]
            self.files[index].write(b"[" + b",".join(rows) + b"]", lasting=lasting)
        self._snapshot = snapshot
        self._seen = self._state()


class Edit(Generic[R]):
    """Changes to a table, made under its lock; `save` makes them real."""

    def __init__(self, table: RecordTable[R], snapshot: Snapshot[R]) -> None:
        self._table = table
        self._now = Snapshot(dict(snapshot.by_id), dict(snapshot.raws), dict(snapshot.files))
        self._changed: set[int] = set()

    @property
    def now(self) -> Snapshot[R]:
        """The records with the changes so far; do not keep it."""
        return self._now

    def put(self, record: R, *, file: int | None = None) -> None:
        """Add or replace a record: in the file that has it, else in `file` (0 if not given)."""
        now = self._now
        index = now.files.get(record.id)
        if index is None:
            index = file or 0
        now.by_id[record.id] = record
        now.raws[record.id] = records.encode(record)
        now.files[record.id] = index
        self._changed.add(index)
        self._renew()

    def drop(self, id: str) -> None:
        """Remove a record; NotFound if there is none."""
        if id not in self._now.by_id:
            raise NotFound(f"cannot remove {id}: there is no such record")
        self._changed.add(self._now.files.pop(id))
        del self._now.by_id[id], self._now.raws[id]
        self._renew()

    def save(self, *, lasting: bool = True) -> None:
        """Write the changed files and tell other processes. Raises OSError; then nothing is changed on disk.

        Changes that are not `lasting` may be lost by a power cut, for which they do not wait (`indexfile.py`).
        """
        if self._changed:
            saved = Snapshot(dict(self._now.by_id), dict(self._now.raws), dict(self._now.files))
            changed, self._changed = self._changed, set()
            self._table._replace(saved, changed, lasting=lasting)

    def rewrite(self, files: set[int]) -> None:
        """Write these files as they are known here."""
        self._changed |= files
        self.save()

    def _renew(self) -> None:
        """Indexes of the old state must not be used any more."""
        now = self._now
        self._now = Snapshot(now.by_id, now.raws, now.files)
