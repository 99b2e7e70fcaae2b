from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import images
from crio.base.errors import CrioError
from crio.image.documents import parse_document
from crio.image.errors import BadContent, BadImage
from crio.image.source.docker_archive import DockerArchiveSource, read_list
from crio.image.source.files import DirectoryFiles
from crio.spec.oci_image import Manifest

LAYERS = [images.layer({"a": "b"}), images.layer({"c": "d" * 300_000})]


def unpacked(directory: Path, pack: Callable[[bytes], bytes] = bytes, **changes: Any) -> DirectoryFiles:
    """What `docker save` writes, in a directory."""
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in LAYERS]
    (directory / "config.json").write_text(json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}}))
    for number, layer in enumerate(LAYERS):
        (directory / f"{number}.tar").write_bytes(pack(layer))
    image = {"Config": "config.json", "RepoTags": ["busybox:1"], "Layers": ["0.tar", "1.tar"], **changes}
    (directory / "manifest.json").write_text(json.dumps([image]))
    return DirectoryFiles(str(directory))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_manifest_is_made(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    files = unpacked(tmp_path, pack)
    (image,) = read_list(files)
    assert image.repo_tags == ("busybox:1",)
    source = DockerArchiveSource(files, image)
    served = source.manifest(None)
    manifest = parse_document(served.data, served.media_type, "it")
    assert isinstance(manifest, Manifest)
    assert [layer.size for layer in manifest.layers] == [len(layer) for layer in LAYERS]
    assert [b"".join(source.layer(layer).chunks()) for layer in manifest.layers] == LAYERS
    assert hashlib.sha256(source.config(manifest.config)).hexdigest() == manifest.config.digest[7:]


def test_a_compressed_layer_that_is_another(tmp_path: Path) -> None:
    files = unpacked(tmp_path, lambda layer: gzip.compress(layer + b"\0"))
    with pytest.raises(BadContent, match=r"0\.tar"):
        DockerArchiveSource(files, read_list(files)[0])


@pytest.mark.parametrize(
    "changes",
    [{"Layers": ["0.tar"]}, {"Config": "none.json"}, {"Config": "../x"}, {"Layers": ["0.tar", "/etc/passwd"]}],
)
def test_broken_lists(tmp_path: Path, changes: dict[str, Any]) -> None:
    files = unpacked(tmp_path, **changes)
    with pytest.raises(CrioError):
        DockerArchiveSource(files, read_list(files)[0])


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", '[{"Config":1}]'])
def test_broken_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadImage):
        read_list(DirectoryFiles(str(tmp_path)))
