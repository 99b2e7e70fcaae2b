"""Which containers in a shared store are ours, and whom they serve."""

from __future__ import annotations

import json

from crio.container.stored import Owned, StoredContainer, mapped_ids, ours
from crio.sandbox.user_namespace import IdMaps
from crio.spec.oci_runtime import IdMapping
from crio.storage.records import ContainerRecord, IdMapEntry


def record(id: str, metadata: str) -> ContainerRecord:
    return ContainerRecord(id=id, names=[], image="", layer="", metadata=metadata, created="2026-01-01T00:00:00Z")


def metadata(image_volume_of: str = "") -> StoredContainer:
    return StoredContainer(
        pod_name="pod", pod_id="p", image_name="i", image_id="1", name="c", image_volume_of=image_volume_of
    )


def test_keys_are_those_that_other_readers_know() -> None:
    assert json.loads(metadata().text()) == {
        "pod-name": "pod",
        "pod-id": "p",
        "image-name": "i",
        "image-id": "1",
        "name": "c",
    }


def test_only_what_names_a_pod_is_ours() -> None:
    rows = [
        record("own", metadata().text()),
        record("volume", metadata(image_volume_of="own").text()),
        record("podless", StoredContainer(pod_name="", pod_id="", image_name="", image_id="", name="").text()),
        record("buildah", '{"type":"buildah"}'),
        record("bare", ""),
        record("number", "7"),
        record("nested", "[" * 5000),
    ]
    assert list(ours(rows)) == [Owned("own", "own", "p"), Owned("volume", "own", "p")]


def test_the_ids_of_whoever_has_a_user_namespace() -> None:
    runs = [IdMapEntry(0, 100_000, 65536)]
    podmans = ContainerRecord(id="x", names=[], created="2026-01-01T00:00:00Z", metadata="", uidmap=runs, gidmap=runs)
    same = [IdMapping(0, 100_000, 65536)]
    assert list(mapped_ids([record("plain", ""), podmans])) == [IdMaps(same, same)]
