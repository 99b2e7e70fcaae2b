"""Records on disk: one JSON document with a version, replaced as a whole."""

from __future__ import annotations

import os
from typing import Generic, Protocol, TypeVar

import msgspec

from crio.base.errors import DataLoss
from crio.base.files import read_bounded, write_atomic
from crio.base.jsontext import UNREADABLE

_LIMIT = 8 << 20
"""Bytes of a record."""


class _Versioned(Protocol):
    version: int


Record = TypeVar("Record", bound=_Versioned)


class RecordFile(Generic[Record]):
    """The file `name` in each of many directories. `version` is the highest that is known here."""

    def __init__(self, name: str, kind: type[Record], version: int) -> None:
        self.name = name
        self._version = version
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(kind)

    def save(self, directory: str, record: Record) -> None:
        """Write the record atomically. Raises OSError."""
        write_atomic(os.path.join(directory, self.name), self._encoder.encode(record))

    def load(self, directory: str) -> Record:
        """Read a record. Raises FileNotFoundError, or DataLoss if it can't be understood."""
        path = os.path.join(directory, self.name)
        data = read_bounded(path, _LIMIT)
        try:
            record = self._decoder.decode(data)
        except UNREADABLE as error:
            raise DataLoss(f"cannot read {path}: {error}") from error
        if record.version > self._version:
            known = f"this release knows up to {self._version}"
            raise DataLoss(f"cannot read {path}: it has version {record.version}, and {known}")
        return record
