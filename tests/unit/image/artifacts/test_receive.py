"""What comes into the layout of artifacts is whole and verified, or leaves nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from crio.base.errors import CrioError, ResourceExhausted, Unavailable
from crio.base.ids import Digest
from crio.image.artifacts.layout import ArtifactLayout
from crio.image.artifacts.receive import is_artifact, receive
from crio.image.cancellation import Cancellation
from crio.image.documents import MAX_BLOB, Served, digest_of, parse_document
from crio.image.errors import BadContent
from crio.image.progress import Progress
from crio.image.source.base import StoredContent
from crio.image.trust.signatures import SimpleSignature, unpack
from crio.linux.mount import mount, umount
from crio.spec import docker_image, oci_image
from crio.spec.oci_image import Descriptor, Manifest

NAME = "a.example/data:1"


class Source:
    """Blobs in memory; those whose digest is in `wrong` come otherwise."""

    def __init__(self, *files: bytes, size: int | None = None) -> None:
        self.blobs = {digest_of(data): data for data in (*files, b"{}")}
        layers = [{"mediaType": "text/plain", "digest": digest_of(data), "size": len(data) if size is None else size,
                   "annotations": {"org.opencontainers.image.title": f"file-{number}"}}
                  for number, data in enumerate(files)]  # fmt: skip
        config = {"mediaType": oci_image.EMPTY, "digest": digest_of(b"{}"), "size": 2}
        value = {"schemaVersion": 2, "mediaType": oci_image.MANIFEST, "config": config, "layers": layers}
        self.raw = json.dumps(value).encode()
        document = parse_document(self.raw, "", "x")
        assert isinstance(document, Manifest)
        self.parsed = document
        self.fetched: list[str] = []

    def manifest(self, digest: Digest | None) -> Served:
        return Served(self.raw, oci_image.MANIFEST)

    def config(self, descriptor: Descriptor) -> bytes:
        return self.blobs[Digest(descriptor.digest)]

    def layer(self, descriptor: Descriptor) -> StoredContent:
        self.fetched.append(descriptor.digest)

        def chunks() -> Generator[bytes, None, None]:
            data = self.blobs[Digest(descriptor.digest)]
            yield data[:3]
            yield data[3:]

        return StoredContent(chunks())

    def part(self, descriptor: Descriptor, start: int, stop: int) -> None:
        return None


@pytest.fixture
def layout(tmp_path: Path) -> ArtifactLayout:
    return ArtifactLayout(str(tmp_path / "artifacts"))


def take(layout: ArtifactLayout, source: Source, *names: str, **more: Any) -> Digest:
    signatures = more.get("signatures", ())
    return receive(layout, source, source.parsed, source.raw, names, signatures, Cancellation(), Progress(), "it")


def test_files(layout: ArtifactLayout) -> None:
    source = Source(b"first file", b"second")
    signature = SimpleSignature(b"\xa3signature")
    digest = take(layout, source, NAME, signatures=[signature])
    (found,) = layout.all()
    assert (found.digest, found.repo_tags, found.size) == (digest, (NAME,), 16)
    assert [(file.name, Path(file.path).read_bytes()) for file in found.files] == [
        ("file-0", b"first file"), ("file-1", b"second")
    ]  # fmt: skip
    assert oct(os.stat(found.files[0].path).st_mode) == "0o100644"
    assert unpack(Path(layout.signature_path(digest)).read_bytes()) == [signature]
    assert Path(layout.root, "oci-layout").exists()


def test_what_is_there_is_not_fetched_again(layout: ArtifactLayout) -> None:
    take(layout, Source(b"shared"), NAME)
    second = Source(b"shared", b"new")
    take(layout, second, "a.example/other:1")
    assert second.fetched == [digest_of(b"new")]
    assert len(layout.all()) == 2


class _Removing(Source):
    """While a file of it is fetched, somebody removes the artifact that has the other one."""

    def __init__(self, layout: ArtifactLayout) -> None:
        super().__init__(b"shared", b"new")
        self.layout = layout

    def layer(self, descriptor: Descriptor) -> StoredContent:
        for artifact in self.layout.all():
            self.layout.remove(artifact)
        return super().layer(descriptor)


def test_a_shared_file_that_goes_meanwhile(layout: ArtifactLayout) -> None:
    take(layout, Source(b"shared"), NAME)
    with pytest.raises(Unavailable, match="removed meanwhile; try again"):
        take(layout, _Removing(layout), "a.example/other:1")
    assert layout.all() == []
    assert os.listdir(f"{layout.root}/blobs/sha256") == []
    take(layout, _Removing(layout), "a.example/other:1")
    assert len(layout.all()) == 1


def broken() -> list[tuple[Source, type[CrioError]]]:
    wrong, long, cut = Source(b"content"), Source(b"content", size=3), Source(b"content", size=100)
    wrong.blobs[digest_of(b"content")] = b"CONTENT"
    config = Source(b"content")
    config.blobs[digest_of(b"{}")] = b"[]"
    return [(wrong, BadContent), (long, BadContent), (cut, BadContent), (config, BadContent),
            (Source(b"content", size=MAX_BLOB), ResourceExhausted)]  # fmt: skip


@pytest.mark.root
def test_a_manifest_that_fits_only_in_part_is_not_stored(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount("tmpfs", str(place), "tmpfs", data="size=1m")
    try:
        layout = ArtifactLayout(str(place / "artifacts"))
        source = Source(b"content")
        source.raw += b" " * (2 << 20)
        with pytest.raises(OSError, match="No space left"):
            take(layout, source, NAME)
        assert layout.all() == []
        assert os.listdir(f"{layout.root}/blobs/sha256") == []
    finally:
        umount(str(place))


@pytest.mark.parametrize("number", range(5))
def test_what_is_wrong_leaves_nothing(layout: ArtifactLayout, number: int) -> None:
    source, error = broken()[number]
    with pytest.raises(error):
        take(layout, source, NAME)
    assert layout.all() == []
    assert os.listdir(f"{layout.root}/blobs/sha256") == []


@pytest.mark.parametrize(
    ("config", "layer", "kind", "expected"),
    [
        (oci_image.CONFIG, oci_image.LAYER_GZIP, None, False),
        (docker_image.CONFIG, "application/vnd.docker.image.rootfs.diff.tar.gzip", None, False),
        ("", oci_image.LAYER, None, False),
        (oci_image.EMPTY, "text/plain", "application/x", True),
        ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", None, True),
        (oci_image.CONFIG, "text/plain", "application/x", True),
        (oci_image.CONFIG, oci_image.LAYER, "application/x", False),
    ],
)
def test_what_an_artifact_is(config: str, layer: str, kind: str | None, expected: bool) -> None:
    entry = Descriptor(media_type=layer, digest="sha256:" + "0" * 64, size=1)
    head = Descriptor(media_type=config, digest="sha256:" + "0" * 64, size=1)
    assert is_artifact(Manifest(config=head, layers=(entry,), artifact_type=kind)) is expected
