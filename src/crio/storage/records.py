"""The records of the store's index files, as typed values that lose nothing of what other tools wrote into them.

Field names and meanings are those of containers/storage. A field that is not known here is kept in `extra` and written
back; a record that was not changed is written back byte for byte (`table.py`). Times are RFC 3339 texts in UTC. Records
are shared: nobody changes one, `msgspec.structs.replace` makes another.
"""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from crio.base.errors import DataLoss, InvalidArgument
from crio.base.ids import is_full_id
from crio.base.jsontext import UNREADABLE
from crio.base.regex import regex

_TIME = regex(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?:\.[0-9]{1,30})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

ZERO_TIME = "0001-01-01T00:00:00Z"

NO_COMPRESSION, BZIP2, GZIP, XZ, ZSTD = range(5)
"""Values of a layer's `compression`."""


class IdMapEntry(msgspec.Struct, frozen=True):
    container_id: int
    host_id: int
    size: int


class Record(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, kw_only=True, frozen=True):
    id: str
    names: list[str] = []
    created: str
    flags: dict[str, Any] = {}
    metadata: str = ""
    extra: msgspec.UnsetType | dict[str, Any] = msgspec.field(default=msgspec.UNSET, name="--extra")
    """Fields that other tools wrote and that are not known here."""

    @property
    def created_ns(self) -> int:
        """Nanoseconds since 1970; negative for the zero time."""
        return parse_time(self.created)


class LayerRecord(Record, rename="kebab", frozen=True):
    parent: str = ""
    """Id of the layer below, "" for a base layer; it may lie in another store."""
    mountlabel: str = ""
    compressed_diff_digest: str = ""
    compressed_size: int = 0
    diff_digest: str = ""
    """DiffID: digest of the uncompressed tar; "" for a container's layer."""
    diff_size: int = 0
    """Bytes of the uncompressed tar; -1 if it is not known."""
    toc_digest: str = ""
    compression: int = 0
    uidset: list[int] = []
    gidset: list[int] = []
    uidmap: list[IdMapEntry] = []
    gidmap: list[IdMapEntry] = []
    big_data_names: list[str] = []

    @property
    def incomplete(self) -> bool:
        return self.flags.get("incomplete") is True


class ImageRecord(Record, rename="kebab", frozen=True):
    digest: str = ""
    names_history: list[str] = []
    layer: str = ""
    """Id of the top layer, "" for an image without any."""
    mapped_layers: list[str] = []
    big_data_names: list[str] = []
    big_data_sizes: dict[str, int] = {}
    big_data_digests: dict[str, str] = {}

    @property
    def digests(self) -> list[str]:
        """Every manifest digest by which this image is known, the default one first."""
        found = [self.digest] if self.digest else []
        for name in self.big_data_names:
            digest = self.big_data_digests.get(name, "")
            if name.startswith("manifest") and digest and digest not in found:
                found.append(digest)
        return found

    @property
    def layers(self) -> list[str]:
        """The top layers, the plain one first."""
        return ([self.layer] if self.layer else []) + self.mapped_layers


class ContainerRecord(Record, rename="kebab", frozen=True):
    image: str = ""
    layer: str = ""
    big_data_names: list[str] = []
    big_data_sizes: dict[str, int] = {}
    big_data_digests: dict[str, str] = {}
    uidmap: list[IdMapEntry] = []
    gidmap: list[IdMapEntry] = []

    @property
    def volatile(self) -> bool:
        return self.flags.get("Volatile") is True


class MountRecord(msgspec.Struct, frozen=True):
    id: str
    path: str
    count: int


R = TypeVar("R", bound=Record)

_encoder = msgspec.json.Encoder()
_REQUIRED: Mapping[type, Mapping[str, Any]] = {ContainerRecord: {"image": "", "layer": ""}}


def decode_list(data: bytes, path: str) -> list[msgspec.Raw]:
    """The raw records of one index file; an empty file has none. Raises DataLoss if it is not a JSON array."""
    if not data:
        return []
    try:
        # Raw records are not looked into, but one that is no text must not hide that the file is damaged.
        return msgspec.json.decode(data.decode(), type=list[msgspec.Raw])
    except UNREADABLE as error:
        raise DataLoss(f"cannot read {path}: {error}; restore it or wipe the store") from None


def decode(kind: type[R], raw: bytes | msgspec.Raw, path: str) -> R:
    """One record. Raises DataLoss if it cannot be one, or if its id could not be a file name."""
    record: R
    try:
        try:
            record = msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError:
            record = _decode_foreign(kind, raw)
    except UNREADABLE as error:
        raise DataLoss(f"cannot read a record of {path}: {error}") from None
    for name in (record.id, *_references(record)):
        if name in ("", ".", "..", "l") or "/" in name or "\0" in name:
            raise DataLoss(f"cannot read a record of {path}: {name[:100]!r} is not an id")
    return record


def _references(record: Record) -> list[str]:
    match record:
        case LayerRecord():
            found = [record.parent]
        case ImageRecord():
            found = record.layers
        case ContainerRecord():
            found = [record.image, record.layer]
        case _:
            found = []
    return [name for name in found if name]


def _decode_foreign(kind: type[R], raw: bytes | msgspec.Raw) -> R:
    """A record with fields that are not known here, or with nulls, which Go writes and reads as absent."""
    values = msgspec.json.decode(raw, type=dict[str, Any])
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    mine = {key: value for key, value in values.items() if key in known and value is not None}
    extra = {key: value for key, value in values.items() if key not in known}
    record = msgspec.convert(mine, type=kind)
    return msgspec.structs.replace(record, extra=extra) if extra else record


def encode(record: Record) -> bytes:
    """The record as other tools expect it: compact, empty fields left out."""
    required = _REQUIRED.get(type(record))
    if record.extra is msgspec.UNSET and required is None:
        return _encoder.encode(record)
    values = msgspec.to_builtins(record)
    extra = values.pop("--extra", {})
    return _encoder.encode({**(required or {}), **values, **extra})


def replaced(record: R, **fields: object) -> R:
    """A copy of a record with some fields replaced."""
    return msgspec.structs.replace(record, **fields)


def now() -> str:
    """The current time as the index files have it."""
    return format_time(time.time_ns())


def format_time(nanoseconds: int) -> str:
    """RFC 3339 in UTC with up to nine fractional digits and no trailing zeros, as Go writes it."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(seconds=seconds)
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{tail}Z"


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 text; 0 if it is none, as every reader of the store is lenient here."""
    head, dot, rest = text.partition(".")
    digits = ""
    if dot:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        head += rest[len(digits) :]
    try:
        moment = datetime.datetime.fromisoformat(head)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    delta = moment - datetime.datetime.fromtimestamp(0, datetime.UTC)
    return (delta.days * 86400 + delta.seconds) * 1_000_000_000 + int(digits[:9].ljust(9, "0") or 0)


def is_time(text: str) -> bool:
    """Whether `text` is RFC 3339 to the letter: tools in Go read no record of a file in which one time is not."""
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    try:
        datetime.datetime.fromisoformat(match[1])
    except ValueError:
        return False
    return True


def layer_id(parent: str | None, diff_id: str) -> str:
    """The id that every tool gives an image layer: the DiffID's hex for a base layer, else a hash of the chain."""
    component = diff_id.partition(":")[2]
    if not parent:
        return component
    return hashlib.sha256(f"{parent}+{component}".encode()).hexdigest()


def check_id(text: str, what: str) -> str:
    """`text` if it is a full id, as every id that this project makes; else InvalidArgument."""
    if not is_full_id(text):
        raise InvalidArgument(f"cannot use {text[:100]!r} as the id of {what}: it is not 64 lower-case hex digits")
    return text
