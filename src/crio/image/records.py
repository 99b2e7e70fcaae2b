"""An image as the CRI shows it, made from its record in the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import msgspec

from crio.base.errors import CrioError, InvalidArgument
from crio.base.jsontext import UNREADABLE
from crio.image.documents import parse_config, parse_document
from crio.image.errors import BadImage
from crio.image.source.encrypted import is_encrypted
from crio.spec.oci_image import MAX_DOCUMENT, ImageConfig, Manifest
from crio.storage.records import ImageRecord
from crio.wire import reference

_MAX_ID = 0xFFFFFFFE
_MAX_DIGITS = 20
"""Of a user's number, which may begin with zeros; Python itself refuses to read very long ones."""
_MAX_USERNAME = 256
"""Characters: a few images with a name of MiB would make a list that no kubelet accepts."""


class ImageInfo(msgspec.Struct, frozen=True, eq=False, dict=True):
    """An image in the store. `config` is read when it is first asked for; the rest is in memory."""

    id: str
    names: tuple[str, ...]
    """Full references under which it is stored, tags before digests."""
    repo_digests: tuple[str, ...]
    digest: str
    """Of what its name stands for: index or manifest; "" if no tool recorded it."""
    size: int
    """Bytes of its unpacked layers and its documents."""
    created: str
    """RFC 3339."""
    pinned: bool
    read: Callable[[str], bytes]
    """An item of the store's data about this image, by key."""
    config_key: Callable[[], str]

    @property
    def repo_tags(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if "@" not in name)

    @cached_property
    def config(self) -> ImageConfig:
        """Raises CrioError if the store's copy cannot be read."""
        return parse_config(self._config_data, self._what)

    @property
    def config_document(self) -> Any:
        """The configuration as plain JSON values, with what this project has no use for. Raises CrioError."""
        try:
            return msgspec.json.decode(self._config_data)
        except UNREADABLE as error:
            raise BadImage(f"cannot use {self._what}: its configuration cannot be read: {error}") from None

    @cached_property
    def annotations(self) -> dict[str, str]:
        """The manifest's; none if it cannot be read, since nothing may depend on them."""
        manifest = self._manifest
        return (manifest.annotations or {}) if manifest is not None else {}

    @cached_property
    def encrypted(self) -> bool:
        """Whether its layers came encrypted: then it takes a key to use them, though they are in the store plain."""
        return self._manifest is not None and is_encrypted(self._manifest.layers)

    @cached_property
    def _manifest(self) -> Manifest | None:
        try:
            document = parse_document(self.read("manifest"), "", self._what)
        except CrioError:
            return None
        return document if isinstance(document, Manifest) else None

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels

    @property
    def _config_data(self) -> bytes:
        data = self.read(self.config_key())
        if len(data) > MAX_DOCUMENT:
            raise BadImage(f"cannot use {self._what}: its configuration is longer than {MAX_DOCUMENT} bytes")
        return data

    @property
    def _what(self) -> str:
        return f"image {self.id[:12]}"

    @property
    def uid(self) -> int | None:
        """The user that the image runs as, if it says so by number."""
        user = self._user
        is_number = user.isascii() and user.isdecimal() and len(user) <= _MAX_DIGITS
        return int(user) if is_number and int(user) <= _MAX_ID else None

    @property
    def username(self) -> str:
        """The user that the image runs as, if it says so by name; the beginning of one that is longer than any is."""
        return "" if self.uid is not None else self._user[:_MAX_USERNAME]

    @property
    def _user(self) -> str:
        try:
            return self.config.user.partition(":")[0]
        except (CrioError, OSError):
            # An image whose configuration is damaged can still be listed and removed.
            return ""


def make_info(record: ImageRecord, size: int, pinned: bool, big_data: Callable[[str, str], bytes]) -> ImageInfo:
    """`big_data` reads an item of an image by id and key."""
    tags = [name for name in record.names if "@" not in name]
    digests = [name for name in record.names if "@" in name]
    for repository in repositories(record):
        digests += [f"{repository}@{digest}" for digest in (record.digests if record.names else record.digests[:1])]

    def read(key: str) -> bytes:
        return big_data(record.id, key)

    return ImageInfo(
        id=record.id,
        names=(*tags, *(name for name in record.names if "@" in name)),
        repo_digests=tuple(dict.fromkeys(digests)),
        digest=record.digest,
        size=size,
        created=record.created,
        pinned=pinned,
        read=read,
        config_key=lambda: _config_key(record, read),
    )


def repositories(record: ImageRecord) -> list[str]:
    """Those in which it has a name; of an image that has lost its names to others, the last one that it was in."""
    names = record.names or record.names_history[:1]
    return list(dict.fromkeys(filter(None, map(_repository, names))))


def _repository(name: str) -> str:
    try:
        return reference.parse(name).repository
    except InvalidArgument:
        return ""


def _config_key(record: ImageRecord, read: Callable[[str], bytes]) -> str:
    """The configuration is found through the manifest where the image's id is not its digest."""
    key = f"sha256:{record.id}"
    if key in record.big_data_names:
        return key
    what = f"image {record.id[:12]}"
    document = parse_document(read("manifest"), "", what)
    if not isinstance(document, Manifest):
        raise BadImage(f"cannot use {what}: its configuration is not in the store")
    return document.config.digest
