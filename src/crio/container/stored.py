"""What the store's records of our containers tell, to us and to other readers of the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from crio.base.jsontext import UNREADABLE
from crio.sandbox.user_namespace import IdMaps
from crio.spec.oci_runtime import IdMapping
from crio.storage.records import ContainerRecord, IdMapEntry


class StoredContainer(msgspec.Struct, rename="kebab", omit_defaults=True):
    """The metadata of a container in the store, in the form that other readers of the store know from CRI-O."""

    pod_name: str
    pod_id: str
    image_name: str
    image_id: str
    name: str
    metadata_name: str = ""
    uid: str = ""
    namespace: str = ""
    mountlabel: str = ""
    created_at: int = 0
    attempt: int = 0
    privileged: bool = False
    image_volume_of: str = ""
    """Of an image that is mounted as a volume: the container that it is mounted into."""

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


def id_map_entries(mappings: Iterable[IdMapping]) -> list[IdMapEntry]:
    """A pod's mappings as the store's records have them."""
    return [IdMapEntry(mapping.container_id, mapping.host_id, mapping.size) for mapping in mappings]


def mapped_ids(stored: Iterable[ContainerRecord]) -> Iterator[IdMaps]:
    """The maps of the containers in a store that have user namespaces, whoever made them."""
    for record in stored:
        if record.uidmap:
            uids, gids = (
                [IdMapping(entry.container_id, entry.host_id, entry.size) for entry in entries]
                for entries in (record.uidmap, record.gidmap)
            )
            yield IdMaps(uids, gids)


class Owned(msgspec.Struct, frozen=True):
    """Whose a container in the store is."""

    id: str
    container: str
    """Itself, or the container that an image is mounted into."""
    pod: str


def ours(stored: Iterable[ContainerRecord]) -> Iterator[Owned]:
    """Of the containers in a store those whose metadata names a pod."""
    for record in stored:
        try:
            metadata = msgspec.json.decode(record.metadata, type=StoredContainer)
        except (*UNREADABLE, TypeError):
            continue
        if metadata.pod_id and metadata.pod_name:
            yield Owned(record.id, metadata.image_volume_of or record.id, metadata.pod_id)
