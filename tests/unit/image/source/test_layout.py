from __future__ import annotations

import json
from pathlib import Path

import pytest

import images
from crio.base.ids import parse_digest
from crio.image.documents import digest_of
from crio.image.errors import BadImage
from crio.image.platforms import HostPlatform
from crio.image.source.files import DirectoryFiles
from crio.image.source.layout import LayoutSource, entries_by_name, is_directory_image, name_of
from crio.spec.oci_image import Descriptor
from images import LayoutBuilder

HOST = HostPlatform("linux", "amd64", ("",))
LAYER = images.layer({"a": "b"})


def test_names() -> None:
    def entry(**annotations: str) -> str:
        return name_of(Descriptor(digest="x", size=0, annotations=annotations))

    assert entry() == ""
    assert entry(**{"org.opencontainers.image.ref.name": "latest"}) == "latest"
    assert entry(**{"org.opencontainers.image.ref.name": "1", "io.containerd.image.name": "a.b/c:1"}) == "a.b/c:1"


def test_several_images_and_platforms(tmp_path: Path) -> None:
    build = LayoutBuilder(str(tmp_path / "layout"))
    layer = build.blob(LAYER, "x")
    by_platform = [
        build.manifest(build.config([LAYER], author=name), [layer], platform={"os": "linux", "architecture": name},
                       annotations={"org.opencontainers.image.ref.name": "both"})
        for name in ("s390x", "amd64")
    ]  # fmt: skip
    single = build.manifest(build.config([LAYER], author="single"), [layer])
    build.finish({"one": single})
    path = Path(build.directory, "index.json")
    index = json.loads(path.read_text())
    index["manifests"] += by_platform
    path.write_text(json.dumps(index))
    files = DirectoryFiles(build.directory)
    found = entries_by_name(files, HOST)
    assert {name: entry.digest for name, entry in found.items()} == {
        "one": single["digest"],
        "both": by_platform[1]["digest"],
    }
    source = LayoutSource(files, found["one"])
    top = source.manifest(None)
    assert digest_of(top.data) == single["digest"]
    assert source.manifest(parse_digest(single["digest"])).data == top.data
    descriptor = Descriptor(digest=layer["digest"], size=layer["size"])
    assert b"".join(source.layer(descriptor).chunks()) == LAYER
    assert not is_directory_image(files)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schemaVersion":2}', '{"schemaVersion":2,"manifests":[{"x":1}]}'])
def test_broken_indexes(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(BadImage):
        entries_by_name(DirectoryFiles(str(tmp_path)), HOST)
