"""The layout of artifacts: what is listed, how names move, what goes with a removal."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from crio.base.errors import DataLoss, InvalidArgument, NotFound
from crio.base.ids import Digest
from crio.image.artifacts.layout import ArtifactInfo, ArtifactLayout
from crio.image.documents import digest_of
from crio.spec import oci_image
from crio.wire import reference

NAME = "a.example/data:1"


def put(layout: ArtifactLayout, files: Mapping[str, bytes], *names: str, **fields: Any) -> Digest:
    """An artifact with these files by title; its digest."""

    def blob(data: bytes) -> Digest:
        digest = digest_of(data)
        Path(layout.blob_path(digest)).write_bytes(data)
        return digest

    with layout.writing():
        layers = []
        for title, data in files.items():
            notes = {"annotations": {"org.opencontainers.image.title": title}} if title else {}
            layers.append({"mediaType": "text/plain", "digest": blob(data), "size": len(data), **notes})
        config = {"mediaType": oci_image.EMPTY, "digest": blob(b"{}"), "size": 2}
        value = {"schemaVersion": 2, "mediaType": oci_image.MANIFEST, "config": config, "layers": layers, **fields}
        data = json.dumps(value).encode()
        digest = blob(data)
        for name in names or ("",):
            layout.add_entry(name, digest, len(data))
    return digest


@pytest.fixture
def layout(tmp_path: Path) -> ArtifactLayout:
    return ArtifactLayout(str(tmp_path / "artifacts"))


def only(layout: ArtifactLayout) -> ArtifactInfo:
    (found,) = layout.all()
    return found


def test_nothing_is_made_by_looking(layout: ArtifactLayout) -> None:
    assert layout.all() == []
    assert layout.find(reference.parse(NAME)) is None
    assert not os.path.exists(layout.root)


def test_an_artifact_as_an_image(layout: ArtifactLayout) -> None:
    notes = {"org.opencontainers.image.created": "2024-01-01T00:00:00Z", "k": "v"}
    digest = put(layout, {"a.txt": b"aaa", "": b"nameless"}, NAME, annotations=notes)
    found = only(layout)
    assert (found.id, found.digest, found.size, found.pinned) == (digest.partition(":")[2], digest, 11, False)
    assert (found.repo_tags, found.repo_digests) == ((NAME,), (f"a.example/data@{digest}",))
    assert (found.created, found.annotations, found.uid, found.username) == (notes[next(iter(notes))], notes, None, "")
    assert [(file.name, Path(file.path).read_bytes()) for file in found.files] == [("a.txt", b"aaa")]
    assert found.config.cmd == ()
    assert not found.encrypted
    assert layout.all() is layout.all()


def test_finding(layout: ArtifactLayout) -> None:
    one = put(layout, {"a": b"1"}, NAME, "b.example/other:2")
    two = put(layout, {"a": b"2"}, "a.example/data:2")
    assert len(layout.all()) == 2
    for text, wanted in (
        (NAME, one), ("b.example/other:2", one), ("a.example/data:2", two), (f"a.example/data@{two}", two),
        ("a.example/data:3", None), (f"b.example/other@{two}", None),
    ):  # fmt: skip
        found = layout.find(reference.parse(text))
        assert (found.digest if found else None) == wanted
    assert layout.by_id(one.partition(":")[2][:12]) is not None
    assert layout.by_id("0000") is None
    with pytest.raises(InvalidArgument, match="2 ids begin so"):
        layout.by_id("")


def test_a_name_moves_and_the_former_stays_nameless(layout: ArtifactLayout) -> None:
    one = put(layout, {"a": b"1"}, NAME)
    two = put(layout, {"a": b"2"}, NAME)
    by_digest = {found.digest: found for found in layout.all()}
    assert (by_digest[one].names, by_digest[two].names) == ((), (NAME,))
    assert by_digest[one].repo_digests == ()
    assert put(layout, {"a": b"2"}, NAME) == two
    assert put(layout, {"a": b"1"}, "a.example/again:1") == one
    assert sorted(len(found.names) for found in layout.all()) == [1, 1]


def test_removal_takes_what_nobody_else_has(layout: ArtifactLayout) -> None:
    one = put(layout, {"a": b"shared", "b": b"alone"}, NAME, "b.example/other:2")
    two = put(layout, {"a": b"shared"}, "a.example/two:1")
    os.makedirs(os.path.dirname(layout.signature_path(one)))
    for digest in (one, two):
        Path(layout.signature_path(digest)).write_bytes(b"[]")
    first = layout.by_id(one.partition(":")[2])
    assert first is not None
    layout.remove(first)
    assert only(layout).digest == two
    left = set(os.listdir(f"{layout.root}/blobs/sha256"))
    assert left == {digest.partition(":")[2] for digest in (two, digest_of(b"shared"), digest_of(b"{}"))}
    assert os.listdir(f"{layout.root}/signatures") == [two.replace(":", "-")]
    with pytest.raises(NotFound):
        layout.remove(first)
    layout.remove(only(layout))
    assert os.listdir(f"{layout.root}/blobs/sha256") == []


def test_entries_of_other_tools_stay(layout: ArtifactLayout) -> None:
    put(layout, {"a": b"1"}, NAME)
    index = Path(layout.root, "index.json")
    document = json.loads(index.read_text())
    tag_only = {**document["manifests"][0], "annotations": {oci_image.REF_NAME: "1.14", "x": "y"}}
    lost = {"mediaType": oci_image.MANIFEST, "digest": "sha256:" + "0" * 64, "size": 5}
    document["manifests"] = [tag_only, lost, {"digest": "junk"}]
    index.write_text(json.dumps(document))
    assert only(layout).names == ()
    put(layout, {"a": b"2"}, NAME)
    assert json.loads(index.read_text())["manifests"][:2] == [tag_only, lost]
    # What an entry leads to that cannot be read is not known, so nothing goes.
    blobs = set(os.listdir(f"{layout.root}/blobs/sha256"))
    layout.remove(next(found for found in layout.all() if found.names))
    assert set(os.listdir(f"{layout.root}/blobs/sha256")) == blobs


def test_damage_is_told(layout: ArtifactLayout) -> None:
    put(layout, {"a": b"1"}, NAME)
    Path(layout.root, "index.json").write_text("{")
    with pytest.raises(DataLoss, match="remove it to start anew"):
        layout.all()


def test_an_index_that_was_half_written_is_removed(layout: ArtifactLayout) -> None:
    put(layout, {"a": b"a"}, NAME)
    half = Path(layout.root) / ".tmp-index.json-0123abcd"
    half.write_text("{")
    put(layout, {"b": b"b"}, NAME)
    assert not half.exists()
    assert len(layout.all()) == 2
