"""Artifacts of several stores together: priority, pins, protection, and what a sub path mounts."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from crio.base.errors import FailedPrecondition
from crio.image.artifacts.layout import ArtifactFile, ArtifactInfo, ArtifactLayout
from crio.image.artifacts.view import Artifacts, mount_files
from crio.image.documents import digest_of
from crio.image.pins import Pins
from crio.spec import oci_image
from crio.wire import reference

NO_PINS = Pins(())


def put(root: Path, name: str, data: bytes) -> str:
    layout = ArtifactLayout(str(root / "artifacts"))
    with layout.writing():
        layers = [{"mediaType": "x", "digest": digest_of(data), "size": len(data),
                   "annotations": {"org.opencontainers.image.title": "f"}}]  # fmt: skip
        config = {"mediaType": oci_image.EMPTY, "digest": digest_of(b"{}"), "size": 2}
        raw = json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode()
        for blob in (data, b"{}", raw):
            Path(layout.blob_path(digest_of(blob))).write_bytes(blob)
        layout.add_entry(name, digest_of(raw), len(raw))
    return digest_of(raw).partition(":")[2]


def test_several_stores(tmp_path: Path) -> None:
    name = reference.parse("a.example/x:1")
    own = put(tmp_path / "own", str(name), b"own")
    artifacts = Artifacts(str(tmp_path / "own"), [str(tmp_path / "other"), str(tmp_path / "absent")])
    assert artifacts.in_additional(name) is None
    other = put(tmp_path / "other", str(name), b"other one")
    assert {artifact.id for artifact in artifacts.all(NO_PINS)} == {own, other}
    found = artifacts.find(name, NO_PINS)
    assert found is not None
    assert (found.id, found.pinned) == (other, True)
    assert artifacts.in_additional(name) is not None
    assert artifacts.usage() == (3, 1)
    with pytest.raises(FailedPrecondition, match="read-only store"):
        artifacts.check_removable(found)
    (tmp_path / "other/artifacts/index.json").write_text("{")
    found = artifacts.find(name, NO_PINS)
    assert found is not None
    assert (found.id, found.pinned) == (own, False)
    artifacts.check_removable(found)
    artifacts.user_of = lambda artifact_id: "ctr" if artifact_id == own else ""
    with pytest.raises(FailedPrecondition, match="container ctr uses it"):
        artifacts.check_removable(found)


def test_pins(tmp_path: Path) -> None:
    own = put(tmp_path, "a.example/x:1", b"own")
    artifacts = Artifacts(str(tmp_path), [])
    for pattern, expected in (("a.example/x:1", True), ("a.example*", True), ("b*", False)):
        found = artifacts.by_id(own[:8], Pins((pattern,)))
        assert found is not None
        assert found.pinned is expected


@pytest.mark.parametrize(
    ("sub_path", "expected"),
    [
        ("", {"a": "/1", "sub/b": "/2", "sub/deep/c": "/3"}),
        ("sub", {"b": "/2", "deep/c": "/3"}),
        ("/sub/", {"b": "/2", "deep/c": "/3"}),
        ("./sub/deep", {"c": "/3"}),
        ("a", {"a": "/1"}),
        ("su", {}),
        ("../sub", {}),
    ],
)
def test_sub_paths(tmp_path: Path, sub_path: str, expected: dict[str, str]) -> None:
    put(tmp_path, "a.example/x:1", b"own")
    found = Artifacts(str(tmp_path), []).all(NO_PINS)[0]
    assert isinstance(found, ArtifactInfo)
    files = [ArtifactFile("a", "/1"), ArtifactFile("sub/b", "/2"), ArtifactFile("sub/deep/c", "/3")]
    assert dict(mount_files(msgspec.structs.replace(found, files=files), sub_path)) == expected
